/** `vllm-gateway status` for people. */
import type { DeviceStatus, ModelStatus, ReplicaStatus, StatusAnswer } from '../admin/contract.ts';
import { SECOND } from '../units.ts';
import { plain, renderTable } from './table.ts';
import type { Cell } from './table.ts';
import { mibText, plural, spanText } from './words.ts';
import type { Colour, OutputStream } from './world.ts';

export const STATE_COLOURS: Readonly<Record<string, Colour>> = {
  ready: 'green',
  starting: 'yellow',
  draining: 'yellow',
  degraded: 'yellow',
  reserved: 'yellow',
  stopping: 'yellow',
  busy: 'yellow',
  failed: 'red',
  not_ready: 'red',
  quarantined: 'red',
  stale: 'yellow',
  zombie: 'red',
};

/** `now`: wall clock, for "ago". */
export function renderStatus(status: StatusAnswer, url: string, now: number, out: OutputStream): string {
  const parts = [headline(status, url, out)];
  const problems = status.config.problems.map(
    ({ severity, message, path }) =>
      `  ${coloured(severity === 'error' ? 'red' : 'yellow', severity, out).shown} ${path}: ${message}`,
  );
  if (problems.length > 0)
    parts.push([`${plural(problems.length, 'problem')} of the configuration:`, ...problems].join('\n'));
  parts.push(modelTable(status, now, out));
  if (Object.keys(status.devices).length > 0) parts.push(deviceTable(status, out));
  return `${parts.join('\n\n')}\n`;
}

function headline({ gateway, limits, models }: StatusAnswer, url: string, out: OutputStream): string {
  const inFlight = Object.values(models).reduce((total, model) => total + model.in_flight, 0);
  const facts = [
    stateCell(gateway.state, out).shown,
    `up ${spanText(gateway.uptime_s * SECOND)}`,
    `${inFlight}/${limits.max_in_flight} in flight`,
    url,
  ];
  return `${out.style('bold', `vLLM Gateway ${gateway.version}`)} · ${facts.join(' · ')}`;
}

function modelTable(status: StatusAnswer, now: number, out: OutputStream): string {
  const heads = ['MODEL', 'STATE', 'QUEUED', 'IN FLIGHT', 'REPLICA', 'DEVICES', 'LAST USED', 'NOTE'];
  const rows = Object.entries(status.models).map(([name, model]) => modelRow(name, model, status, now, out));
  return renderTable(
    heads.map((head) => coloured('dim', head, out)),
    rows,
  );
}

function modelRow(name: string, model: ModelStatus, status: StatusAnswer, now: number, out: OutputStream): Cell[] {
  const replicas = model.replicas.flatMap((id) => {
    const replica = status.replicas[id];
    return replica ? [{ id, replica }] : [];
  });
  return [
    plain(model.pinned_by === null ? name : `${name} (pinned)`),
    stateCell(model.state, out),
    plain(model.queued === 0 ? '0' : `${model.queued}/${model.max_queue_size}`),
    plain(model.in_flight === 0 ? '0' : `${model.in_flight}/${model.max_concurrent}`),
    plain(replicas.map(({ id }) => id).join(' ')),
    plain([...new Set(replicas.flatMap(({ replica }) => replica.devices))].join(' ')),
    plain(model.last_used_at === null ? '' : `${spanText(now - Date.parse(model.last_used_at))} ago`),
    noteOf(
      model,
      replicas.map(({ replica }) => replica),
      out,
    ),
  ];
}

function noteOf(model: ModelStatus, replicas: readonly ReplicaStatus[], out: OutputStream): Cell {
  const coming = replicas.find(({ state }) => state === 'starting' || state === 'reserved');
  if (coming) return plain(progressText(coming));
  if (model.preparation) return plain(preparationText(model.preparation));
  if (model.state === 'failed' && model.last_failure) return coloured('red', model.last_failure.message, out);
  return plain(model.waiting_for === null ? '' : `waiting for ${model.waiting_for}`);
}

/** `weights 45 %, about 12s left`. */
export function progressText({ state, phase, progress, eta_s: eta }: ReplicaStatus): string {
  const told = phase ?? (state === 'reserved' ? 'waiting for its turn' : 'starting');
  return `${told}${shareText(progress)}${leftText(eta)}`;
}

/** `image 45 %, about 12s left`: before its engine may start. */
export function preparationText({ phase, progress, eta_s: eta }: NonNullable<ModelStatus['preparation']>): string {
  return `${phase}${shareText(progress)}${leftText(eta)}`;
}

const shareText = (progress: number | null): string => (progress === null ? '' : ` ${Math.round(progress * 100)} %`);
/** Less than a second is told as one: it is not over yet. */
const leftText = (eta: number | null): string =>
  eta === null ? '' : `, about ${spanText(Math.max(1, eta) * SECOND)} left`;

function deviceTable(status: StatusAnswer, out: OutputStream): string {
  const heads = ['DEVICE', 'STATE', 'USED', 'RESERVED', 'BUDGET', 'TOTAL', 'RESIDENTS', 'NOTE'];
  const rows = Object.entries(status.devices).map(([id, device]) => deviceRow(id, device, status, out));
  return renderTable(
    heads.map((head) => coloured('dim', head, out)),
    rows,
  );
}

function deviceRow(id: string, device: DeviceStatus, status: StatusAnswer, out: OutputStream): Cell[] {
  return [
    plain(device.pool === null ? id : `${id} (${device.pool})`),
    deviceState(device.state, out),
    plain(mibText(device.used_mib)),
    plain(mibText(device.reserved_mib)),
    plain(mibText(device.budget_mib)),
    plain(mibText(device.total_mib)),
    plain(device.residents.map((replica) => status.replicas[replica]?.model ?? replica).join(' ')),
    plain(device.reason ?? ''),
  ];
}

/** `free` means free for a start, which reads as empty beside a column of used memory. */
function deviceState(state: DeviceStatus['state'], out: OutputStream): Cell {
  if (state === 'free') return plain('ok');
  return state === 'busy' ? coloured('yellow', 'starting', out) : stateCell(state, out);
}

function stateCell(state: string, out: OutputStream): Cell {
  const colour = STATE_COLOURS[state];
  return colour === undefined ? plain(state) : coloured(colour, state, out);
}

function coloured(colour: Colour, text: string, out: OutputStream): Cell {
  return { text, shown: out.style(colour, text) };
}
