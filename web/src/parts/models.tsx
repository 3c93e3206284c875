/** Models, what they are doing, and what can be done with them. */
import { useState } from 'preact/hooks';
import type { Command, ModelStatus, ReplicaStatus, StatusAnswer } from '../../../src/admin/contract.ts';
import { command, wantsKey, wordsFor } from '../api.ts';
import { colourOf } from '../colours.ts';
import { ago, duration, gib, shortDevice, words } from '../format.ts';
import { failedReplica, logAddress } from '../replicas.ts';
import { askForKey, type State } from '../store.ts';

export function Models({ state, status }: { readonly state: State; readonly status: StatusAnswer }) {
  const models = Object.entries(status.models);
  return (
    <section aria-labelledby="models">
      <h2 id="models">
        Models
        <small>
          {total(models, 'in_flight')} of {status.limits.max_in_flight} in flight · {total(models, 'queued')} queued
        </small>
      </h2>
      <ul class="models">
        {models.map(([name, model]) => (
          <Model key={name} name={name} model={model} status={status} state={state} />
        ))}
      </ul>
    </section>
  );
}

function total(models: readonly (readonly [string, ModelStatus])[], field: 'in_flight' | 'queued'): number {
  return models.reduce((sum, [, model]) => sum + model[field], 0);
}

interface ModelProps {
  readonly name: string;
  readonly model: ModelStatus;
  readonly status: StatusAnswer;
  readonly state: State;
}

function Model({ name, model, status, state }: ModelProps) {
  const now = Date.now();
  return (
    <li class="model">
      <div class="who">
        <i class={`swatch engine ${colourOf(name, Object.keys(status.models))}`} aria-hidden="true" />
        <span>
          <strong>{name}</strong>
          {model.pinned_by && <span class="tag">{model.pinned_by === 'config' ? 'always on' : 'pinned'}</span>}
          <span class="quiet more">
            {[...model.aliases, ...(model.driver === 'process' ? [] : [model.driver])].join(' · ')}
          </span>
        </span>
      </div>
      <Doing model={model} status={status} />
      <dl class="counts">
        <div>
          <dt>in flight</dt>
          <dd>{model.in_flight}</dd>
        </div>
        <div>
          <dt>queued</dt>
          <dd class={model.queued > 0 ? 'hot' : ''}>{model.queued}</dd>
        </div>
        <div>
          <dt>needs</dt>
          <dd title={model.need ? `known by: ${model.need.basis}` : undefined}>
            {model.need ? gib(model.need.total_mib) : '–'}
          </dd>
        </div>
        <div>
          <dt>used</dt>
          <dd>{model.last_used_at ? ago(model.last_used_at, now) : 'never'}</dd>
        </div>
      </dl>
      <Actions name={name} model={model} admin={state.viewer.admin} />
      <Remarks name={name} model={model} state={state} now={now} />
    </li>
  );
}

function Doing({ model, status }: { readonly model: ModelStatus; readonly status: StatusAnswer }) {
  const replicas = model.replicas.flatMap((id) => {
    const replica = status.replicas[id];
    return replica ? [{ id, ...replica }] : [];
  });
  const coming = replicas.find(({ state }) => state === 'reserved' || state === 'starting');
  const step = model.preparation ?? coming;
  const phase = phaseWords(coming?.state === 'reserved' && !model.preparation ? 'reserved' : step?.phase);
  return (
    <div class="doing">
      <span class={`state ${model.state}`}>
        <i class="dot" aria-hidden="true" />
        {model.state}
      </span>
      {step && (
        <span class="step">
          <span>
            {phase}
            {step.progress !== null && ` ${Math.floor(step.progress * 100)} %`}
            {step.eta_s !== null && <span class="quiet">, ready in about {wait(step.eta_s)}</span>}
          </span>
          <Progress fraction={fractionOf(step, coming?.started_at ?? model.preparation?.since)} label={phase} />
        </span>
      )}
      {coming?.state === 'starting' && (
        <a class="replica" href={logAddress(coming.id)} title={[`Log of ${coming.id}`, ...coming.devices].join(', ')}>
          log
        </a>
      )}
      {replicas
        .filter(({ id }) => id !== coming?.id)
        .map(({ id, state, devices, stop_reason: reason }) => (
          <a key={id} class="replica" href={logAddress(id)} title={[`Log of ${id}`, ...devices].join(', ')}>
            {state === 'ready'
              ? [placeWords(devices), 'log'].filter((part) => part !== '').join(' · ')
              : `${state}${reason ? `: ${words(reason)}` : ''}`}
          </a>
        ))}
    </div>
  );
}

/** More than two would not be read: all of them stand beside the bars, and in the title. */
function placeWords(devices: readonly string[]): string {
  return devices.length > 2 ? `${devices.length} devices` : devices.map(shortDevice).join(' · ');
}

type Step = Pick<ReplicaStatus, 'progress' | 'eta_s'>;

const PHASES: Readonly<Record<string, string>> = {
  reserved: 'waits for memory',
  metadata: 'reading about the model',
  image: 'fetching the image',
  weights: 'fetching weights',
  download: 'fetching weights',
  launched: 'launched',
  config: 'reading its settings',
  engine: 'starting the engine',
  load: 'loading weights',
  compile: 'compiling',
  profile: 'measuring memory',
  kv: 'laying out the KV cache',
  graphs: 'capturing graphs',
  serve: 'opening its server',
};

/** A phase that is not known here is told in its own words. */
function phaseWords(phase: string | null | undefined): string {
  return PHASES[phase ?? 'launched'] ?? words(phase ?? '');
}

/** Whole seconds: more would claim more than is known. */
function wait(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 60 ? `${whole} s` : duration(whole);
}

/** Of the whole start where its end is known, else of its present phase. */
function fractionOf(step: Step, since: string | null | undefined): number | null {
  if (step.eta_s === null || !since) return step.progress;
  const elapsed = Math.max(0, (Date.now() - Date.parse(since)) / 1000);
  return elapsed === 0 ? 0 : elapsed / (elapsed + Math.max(0, step.eta_s));
}

function Progress({ fraction, label }: { readonly fraction: number | null; readonly label: string }) {
  return fraction === null ? <progress aria-label={label} /> : <progress aria-label={label} max={1} value={fraction} />;
}

type RemarksProps = Pick<ModelProps, 'name' | 'model' | 'state'> & { readonly now: number };

function Remarks({ name, model, state, now }: RemarksProps) {
  const failure = model.last_failure;
  const waiting = model.queued > 0 ? model.waiting_for : null;
  // A failure that is over is history: the events tell it.
  const failed = failure && model.state !== 'ready';
  if (!waiting && !failed) return null;
  return (
    <div class="remarks">
      {waiting && <p>waits for {waiting}</p>}
      {failed && (
        <p class="trouble">
          <strong>{words(failure.cause)}</strong> {failure.message}{' '}
          <span class="quiet">
            {ago(failure.at, now)}
            {failure.retry_at && Date.parse(failure.retry_at) > now
              ? `, tried again in ${wait((Date.parse(failure.retry_at) - now) / 1000)}`
              : ''}
          </span>{' '}
          {model.driver !== 'external' && (
            <a
              href={logAddress(failedReplica(name, state.decisions, state.run))}
              aria-label={`Log of the failure of ${name}`}
            >
              log
            </a>
          )}
        </p>
      )}
    </div>
  );
}

const NEEDS_KEY = 'Loading, unloading and pinning need an admin key.';

function Actions({ name, model, admin }: Pick<ModelProps, 'name' | 'model'> & { readonly admin: boolean }) {
  const [refused, setRefused] = useState<{ readonly text: string; readonly key: boolean } | null>(null);
  const [busy, setBusy] = useState<Command | null>(null);
  const act = async (wanted: Command): Promise<void> => {
    if (!admin) {
      setRefused({ text: NEEDS_KEY, key: true });
      return;
    }
    setBusy(wanted);
    setRefused(null);
    try {
      await command(wanted, name);
    } catch (error) {
      setRefused({ text: wordsFor(error), key: wantsKey(error) });
    }
    setBusy(null);
  };
  const button = (wanted: Command, title: string) => (
    <button type="button" disabled={busy !== null} aria-label={`${title} ${name}`} onClick={() => void act(wanted)}>
      {title}
    </button>
  );
  const up = model.state === 'ready' || model.state === 'starting' || model.state === 'asleep';
  return (
    <div class="actions">
      {up ? button('unload', 'Unload') : button('load', 'Load')}
      {model.pinned_by === 'operator' ? button('unpin', 'Unpin') : model.pinned_by === null && button('pin', 'Pin')}
      <a class="button" href={`#/plan/${encodeURIComponent(name)}`} aria-label={`Plan ${name}`}>
        Plan
      </a>
      {refused && (
        <p class="trouble" role="alert">
          {refused.text}{' '}
          {refused.key && (
            <button type="button" class="link" onClick={() => askForKey(refused.text)}>
              Enter a key
            </button>
          )}
        </p>
      )}
    </div>
  );
}
