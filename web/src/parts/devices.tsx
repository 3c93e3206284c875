/** Devices as bars: their whole width is their memory. */
import type { DeviceStatus, StatusAnswer } from '../../../src/admin/contract.ts';
import { colourOf } from '../colours.ts';
import { gib } from '../format.ts';
import { segmentsOf, type Segment } from '../segments.ts';

export function Devices({ status }: { readonly status: StatusAnswer }) {
  const devices = Object.entries(status.devices);
  return (
    <section aria-labelledby="devices">
      <h2 id="devices">
        Devices
        <small>
          {status.placement_mode === 'budget' ? 'shared within a budget' : 'one engine has a device for itself'}
        </small>
      </h2>
      {devices.length === 0 && <p class="quiet">No device is known: models that need none run all the same.</p>}
      <ul class="devices">
        {devices.map(([id, device]) => (
          <Device key={id} id={id} device={device} status={status} />
        ))}
      </ul>
    </section>
  );
}

interface DeviceProps {
  readonly id: string;
  readonly device: DeviceStatus;
  readonly status: StatusAnswer;
}

function Device({ id, device, status }: DeviceProps) {
  const segments = segmentsOf(id, device, status);
  const models = Object.keys(status.models);
  const free = segments.find(({ kind }) => kind === 'free')?.mib ?? 0;
  const spoken = segments.map(({ label, mib }) => `${label} ${gib(mib)}`).join(', ');
  return (
    <li class="device">
      <div class="device-head">
        <strong>{id}</strong>
        {device.pool && <span class="quiet">pool {device.pool}</span>}
        {device.state !== 'free' && <span class={`tag ${device.state}`}>{deviceWords(device)}</span>}
        <span class="number room">
          {gib(free)} <span class="quiet">free of {gib(device.total_mib)}</span>
        </span>
      </div>
      <div class="memory" role="img" aria-label={`${id}: ${spoken}`}>
        {segments.map((segment) => (
          <i
            key={segment.key}
            class={`${segment.kind} ${segment.model === null ? '' : colourOf(segment.model, models)}`}
            title={`${segment.label}: ${gib(segment.mib)}`}
            style={{ width: share(segment.mib, device) }}
          >
            <span>{segment.kind === 'cache' ? 'KV cache' : (segment.model ?? '')}</span>
          </i>
        ))}
        <b class="budget" style={{ left: share(Math.min(device.budget_mib, device.total_mib), device) }} />
      </div>
      <Owners segments={segments} device={device} models={models} />
    </li>
  );
}

interface OwnersProps {
  readonly segments: readonly Segment[];
  readonly device: DeviceStatus;
  readonly models: readonly string[];
}

function Owners({ segments, device, models }: OwnersProps) {
  return (
    <ul class="owners">
      {segments.map(({ key, label, mib, kind, model }) => (
        <li key={key}>
          <i class={`swatch ${kind} ${model === null ? '' : colourOf(model, models)}`} aria-hidden="true" />
          {label} <span class="number">{gib(mib)}</span>
        </li>
      ))}
      {device.observed_at !== null && (
        <li class="quiet">
          read <span class="number">{gib(device.used_mib)}</span> in use
        </li>
      )}
      {device.reason && <li class="trouble whole">{device.reason}</li>}
    </ul>
  );
}

function share(mib: number, { total_mib: total }: DeviceStatus): string {
  return `${total === 0 ? 0 : Math.min(100, (mib / total) * 100)}%`;
}

function deviceWords({ state, gate }: DeviceStatus): string {
  if (state === 'busy' && gate) return 'an engine is changing its memory';
  return state === 'stale' ? 'cannot be read' : state;
}
