/** How long the starts of a model take, phase by phase: learned from those that succeeded, and used only for the same thing. */
import type { Milliseconds } from '../../units.ts';
import type { FootprintSignature } from '../memory/footprint.ts';
import type { Run } from '../run.ts';
import type { FleetState, Model, Replica } from '../state.ts';
import type { PhaseProgress } from './phase-progress.ts';

export interface PhaseTime {
  readonly phase: string;
  readonly lasted: Milliseconds;
}

export interface StartTimes {
  readonly model: string;
  /** Another launch line, image or class of device takes another time. */
  readonly signature: FootprintSignature;
  /** In the order in which they begin. */
  readonly phases: readonly PhaseTime[];
}

/** From the launch effect to the first word of the engine's driver. */
export const LAUNCH = 'launch';

/**
 * Weight of the newest start. The first one compiles and reads from the disk what later ones find in caches: it is soon
 * forgotten, and one odd start is too.
 */
const NEWEST = 0.7;
/** Per model: a configuration that goes to and fro, and classes of devices. The oldest goes. */
const MOST_PER_MODEL = 8;
/** More than any engine has. */
export const MOST_PHASES = 32;

export function totalOf({ phases }: StartTimes): Milliseconds {
  return phases.reduce((sum, { lasted }) => sum + lasted, 0);
}

export const sameSignature = (one: FootprintSignature, other: FootprintSignature): boolean =>
  one.specHash === other.specHash &&
  one.image === other.image &&
  one.deviceClass === other.deviceClass &&
  one.tensorParallel === other.tensorParallel;

/** A new phase of a start; what the one before it took is counted. */
export function enterPhase(replica: Replica, next: PhaseProgress, now: Milliseconds): void {
  const { progress } = replica;
  if (next.phase !== progress?.phase) countPhase(replica, now);
  replica.progress = next;
}

function countPhase({ progress, spent, launchedAt }: Replica, now: Milliseconds): void {
  const phase = progress?.phase ?? LAUNCH;
  if (spent.size >= MOST_PHASES && !spent.has(phase)) return;
  spent.set(phase, (spent.get(phase) ?? 0) + now - (progress?.since ?? launchedAt ?? now));
}

/** What of it is known of this very start; undefined = nothing. */
export function timesOfStart(state: FleetState, model: Model, replica: Replica): StartTimes | undefined {
  const signature = signatureOf(state, model, replica);
  return model.startTimes.find((known) => sameSignature(known.signature, signature));
}

/** Before it has a place: the newest that was learned of the model as it is configured now. */
export function timesOfModel(model: Model): StartTimes | undefined {
  return model.startTimes.findLast(
    ({ signature: { specHash, image } }) =>
      specHash === model.settings.specHash && (image === model.image || (model.image === null && !model.prepared)),
  );
}

/** It has become ready, and was launched by this process: what an earlier one launched took nobody knows how long. */
export function learnStart(run: Run, model: Model, replica: Replica): void {
  if (replica.adopted || replica.driver === 'external') return;
  countPhase(replica, run.now);
  const signature = signatureOf(run.state, model, replica);
  const before = model.startTimes.find((known) => sameSignature(known.signature, signature));
  const phases = [...replica.spent].map(([phase, lasted]): PhaseTime => {
    const earlier = before?.phases.find((known) => known.phase === phase)?.lasted;
    return { phase, lasted: earlier === undefined ? lasted : earlier * (1 - NEWEST) + lasted * NEWEST };
  });
  const times = { model: model.name, signature, phases };
  keep(model, times);
  run.effects.push({ kind: 'start.learned', times });
}

/** From earlier runs, oldest first; what this one has learned already is newer. */
export function startTimesLoaded(run: Run, loaded: readonly StartTimes[]): void {
  for (const name of new Set(loaded.map(({ model }) => model))) {
    const model = run.state.models.get(name);
    if (!model) continue;
    const own = model.startTimes.splice(0);
    for (const times of [...loaded.filter((one) => one.model === name), ...own]) keep(model, times);
  }
}

function keep({ startTimes }: Model, times: StartTimes): void {
  const place = startTimes.findIndex((known) => sameSignature(known.signature, times.signature));
  if (place >= 0) startTimes.splice(place, 1);
  startTimes.push(times);
  if (startTimes.length > MOST_PER_MODEL) startTimes.shift();
}

function signatureOf(state: FleetState, model: Model, replica: Replica): FootprintSignature {
  const [device] = replica.reservations.keys();
  return {
    specHash: replica.specHash,
    image: model.image,
    deviceClass: device === undefined ? '' : (state.devices.get(device)?.deviceClass ?? ''),
    tensorParallel: Math.max(1, replica.reservations.size),
  };
}
