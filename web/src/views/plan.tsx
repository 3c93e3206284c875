/** What would happen if a model were asked for now. Nothing is changed by looking. */
import { useEffect, useState } from 'preact/hooks';
import type { PlanAnswer, PlannedDevice, PlannedModel } from '../../../src/admin/contract.ts';
import { plan, wordsFor } from '../api.ts';
import { colourOf } from '../colours.ts';
import { BYTES_PER_MIB, gib, plural } from '../format.ts';
import type { State } from '../store.ts';

const LOOK_EVERY_MS = 3_000;

type Answer = { readonly plan: PlanAnswer } | { readonly trouble: string } | null;

/** Asked anew every few seconds: the fleet moves on while somebody reads. */
function usePlan(): Answer {
  const [answer, setAnswer] = useState<Answer>(null);
  useEffect(() => {
    const leaving = new AbortController();
    const look = async (): Promise<void> => {
      try {
        setAnswer({ plan: await plan(null, leaving.signal) });
      } catch (error) {
        if (!leaving.signal.aborted) setAnswer({ trouble: wordsFor(error) });
      }
    };
    void look();
    const timer = setInterval(() => void look(), LOOK_EVERY_MS);
    return () => {
      clearInterval(timer);
      leaving.abort();
    };
  }, []);
  return answer;
}

export function Plan({ state, model }: { readonly state: State; readonly model: string | null }) {
  const answer = usePlan();
  const models = Object.keys(state.status?.models ?? {});
  const chosen = model ?? models[0] ?? '';
  return (
    <section aria-labelledby="plan">
      <div class="head">
        <h2 id="plan">
          What if <small>a model were asked for now; looking changes nothing</small>
        </h2>
        <label>
          Model
          <select
            value={chosen}
            onChange={(event) => {
              location.hash = `#/plan/${encodeURIComponent(event.currentTarget.value)}`;
            }}
          >
            {models.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      {answer === null && <p class="quiet">Asking …</p>}
      {answer && 'trouble' in answer && <p class="trouble">{answer.trouble}</p>}
      {answer && 'plan' in answer && <Answered plan={answer.plan} model={chosen} models={models} />}
    </section>
  );
}

interface AnsweredProps {
  readonly plan: PlanAnswer;
  readonly model: string;
  readonly models: readonly string[];
}

function Answered({ plan: report, model, models }: AnsweredProps) {
  const planned = report.models[model];
  if (!planned) return <p class="trouble">No model of this name is configured.</p>;
  return (
    <>
      <p class={`verdict ${planned.outcome}`}>
        <strong>{verdictOf(planned)}</strong> {planned.reason}
      </p>
      <Need planned={planned} />
      <Places plan={report} planned={planned} models={models} />
      {planned.holders.length > 0 && (
        <>
          <h3>Who holds the memory</h3>
          <ul class="plain">
            {planned.holders.map(({ replica, model: holder, device, bytes, why, in_flight: busy }) => (
              <li key={`${replica}${device}`}>
                <strong>{holder}</strong> {why}
                {busy > 0 && `, ${plural(busy, 'request')} in flight`}
                {device !== null && ` on ${device}`} <span class="number">{gib(bytes / BYTES_PER_MIB)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {planned.notes.length > 0 && (
        <ul class="plain quiet">
          {planned.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      <Everyone plan={report} chosen={model} models={models} />
    </>
  );
}

function verdictOf({ outcome, evicts }: PlannedModel): string {
  switch (outcome) {
    case 'placed':
      return 'Has its place.';
    case 'fits':
      return evicts.length === 0 ? 'Fits.' : `Fits, once ${plural(evicts.length, 'engine has', 'engines have')} left.`;
    case 'waits':
      return 'Would wait.';
    case 'refused':
      return 'Refused now.';
    case 'never':
      return 'Can never fit.';
  }
}

const PARTS = [
  ['weights_bytes', 'weights'],
  ['kv_bytes', 'KV cache'],
  ['activation_bytes', 'activations'],
  ['overhead_bytes', 'overhead'],
] as const;

const BASIS = {
  declared: 'declared in the configuration',
  footprint: 'learned from an earlier start',
  estimate: 'estimated from its files',
  discovery: 'unknown until it has started once',
};

function Need({ planned }: { readonly planned: PlannedModel }) {
  const { need, basis, missing_bytes: missing, tensor_parallel: degree } = planned;
  if (!need) return <p class="quiet">It takes no device memory.</p>;
  const show = (bytes: number): string => gib(bytes / BYTES_PER_MIB);
  return (
    <dl class="facts">
      <div>
        <dt>needs{degree > 1 ? `, on each of ${degree}` : ''}</dt>
        <dd>{show(need.total_bytes)}</dd>
      </div>
      {PARTS.map(([field, title]) => {
        const bytes = need[field];
        return (
          bytes !== null && (
            <div key={field}>
              <dt>{title}</dt>
              <dd>{show(bytes)}</dd>
            </div>
          )
        );
      })}
      {need.peak_bytes > need.total_bytes && (
        <div>
          <dt>peak while it starts</dt>
          <dd>{show(need.peak_bytes)}</dd>
        </div>
      )}
      {missing > 0 && (
        <div>
          <dt>missing</dt>
          <dd class="hot">{show(missing)}</dd>
        </div>
      )}
      {basis && (
        <div>
          <dt>known by</dt>
          <dd class="text">{BASIS[basis]}</dd>
        </div>
      )}
    </dl>
  );
}

interface PlacesProps {
  readonly plan: PlanAnswer;
  readonly planned: PlannedModel;
  readonly models: readonly string[];
}

function Places({ plan: report, planned, models }: PlacesProps) {
  return (
    <ul class="devices">
      {Object.entries(report.devices).map(([id, device]) => (
        <PlannedPlace key={id} id={id} device={device} planned={planned} models={models} />
      ))}
    </ul>
  );
}

interface PlaceProps {
  readonly id: string;
  readonly device: PlannedDevice;
  readonly planned: PlannedModel;
  readonly models: readonly string[];
}

function PlannedPlace({ id, device, planned, models }: PlaceProps) {
  const here = planned.devices.includes(id) && planned.outcome !== 'placed';
  const need = here ? (planned.need?.total_bytes ?? 0) : 0;
  const leaving = device.residents.filter(({ replica }) => here && planned.evicts.includes(replica));
  const staying = device.residents.filter((resident) => !leaving.includes(resident));
  const left = leaving.map(({ model }) => model).join(', ');
  const taken = staying.reduce((sum, { bytes }) => sum + bytes, device.foreign_bytes + need);
  const free = Math.max(0, (device.budget_bytes ?? device.total_bytes) - taken);
  const width = (bytes: number): string => `${device.total_bytes === 0 ? 0 : (100 * bytes) / device.total_bytes}%`;
  return (
    <li class="device">
      <div class="device-head">
        <strong>{id}</strong>
        {here && <span class="tag good">goes here</span>}
        {left !== '' && <span class="tag warn">{left} leaves</span>}
        {device.reason !== null && <span class="tag bad">{device.reason}</span>}
        <span class="quiet number room">{gib(device.total_bytes / BYTES_PER_MIB)}</span>
      </div>
      <div class="memory" role="img" aria-label={placeWords(id, staying, need, left)}>
        {staying.map(({ replica, model, bytes, why }) => (
          <i
            key={replica}
            class={`engine ${colourOf(model, models)}`}
            title={`${model}, ${why}: ${gib(bytes / BYTES_PER_MIB)}`}
            style={{ width: width(bytes) }}
          >
            <span>{model}</span>
          </i>
        ))}
        {device.foreign_bytes > 0 && <i class="foreign" style={{ width: width(device.foreign_bytes) }} />}
        {need > 0 && (
          <i class="coming wanted" title={`needed: ${gib(need / BYTES_PER_MIB)}`} style={{ width: width(need) }}>
            <span>would be here</span>
          </i>
        )}
        <i class="free" style={{ width: width(free) }} />
        <i class="beyond rest" />
        {device.budget_bytes !== null && <b class="budget" style={{ left: width(device.budget_bytes) }} />}
      </div>
    </li>
  );
}

function placeWords(id: string, staying: readonly { readonly model: string }[], need: number, left: string): string {
  const holds = staying.length === 0 ? 'no engine stays' : `stays: ${staying.map(({ model }) => model).join(', ')}`;
  const goes = left === '' ? '' : `; leaves: ${left}`;
  return `${id}: ${holds}${goes}${need > 0 ? `; the model would take ${gib(need / BYTES_PER_MIB)} here` : ''}`;
}

interface EveryoneProps {
  readonly plan: PlanAnswer;
  readonly chosen: string;
  readonly models: readonly string[];
}

function Everyone({ plan: report, chosen, models }: EveryoneProps) {
  const others = Object.entries(report.models).filter(([name]) => name !== chosen);
  if (others.length === 0) return null;
  return (
    <>
      <h3>
        The other models <small>each by itself, as if only it were asked for</small>
      </h3>
      <ul class="plain">
        {others.map(([name, planned]) => (
          <li key={name}>
            <i class={`swatch engine ${colourOf(name, models)}`} aria-hidden="true" />{' '}
            <a href={`#/plan/${encodeURIComponent(name)}`}>{name}</a> <span class="quiet">{planned.reason}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
