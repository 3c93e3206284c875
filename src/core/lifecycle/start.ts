/** From reservation to ready, or to one shared failure for everybody who waited. */
import type { StartFailureCause } from '../../errors.ts';
import { dispatch, syncGrantable } from '../admission/dispatch.ts';
import { SECOND, type Bytes, type Milliseconds } from '../../units.ts';
import type { StartMilestone } from '../events.ts';
import type { LaunchShare } from '../launch.ts';
import type { Plan } from '../memory/plan.ts';
import { decide, refOf, type Run } from '../run.ts';
import type { Endpoint, FleetState, Model, Replica } from '../state.ts';
import { endRest, isBackingOff, recordFailure } from './backoff.ts';
import { syncClocks } from './clocks.ts';
import { failWaiters } from './failure.ts';
import { armIdle } from './idle.ts';
import { doubtFootprint, recordShortage } from './learn.ts';
import { advanced } from './phase-progress.ts';
import { moveTo } from './replica.ts';
import { restoreDisplaced } from './restore.ts';
import { enterPhase, LAUNCH, learnStart } from './start-times.ts';
import { isMeasuring, neighbours, releaseGate, takeGate } from './start-gate.ts';
import { disturb, stopNow } from './stop.ts';
import { syncTurnDeadlines } from './turn-deadline.ts';

/** Starts in a row that may be begun anew for what moved beside them, before their failure counts. */
const MAX_SPOILT = 3;
/** More than other gateways and their engines usually hold side by side. */
const MAX_PORTS_SKIPPED = 64;
/** From an engine's look at free memory to our knowing of it: log lines come late. */
const NEWS_LAG: Milliseconds = 2 * SECOND;

export const NO_SHARE: LaunchShare = { tensorParallel: 0, utilization: null, kvCacheBytes: null, maxModelLen: null };

/** Letters and digits of a model name, for ids that become file and container names. */
function slug(name: string): string {
  return (
    name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 40) || 'model'
  );
}

function freshId(run: Run, model: Model): string {
  for (;;) {
    const digits = Math.floor(run.random() * 0x100_0000)
      .toString(16)
      .padStart(6, '0');
    const id = `${slug(model.name)}-${digits}`;
    if (!run.state.replicas.has(id)) return id;
  }
}

export function replicaFor(run: Run, model: Model, plan: Extract<Plan, { kind: 'fits' }>): Replica {
  model.generation += 1;
  const { settings } = model;
  return {
    ...blank(run.now),
    id: freshId(run, model),
    generation: model.generation,
    model: model.name,
    driver: settings.driver,
    specHash: settings.specHash,
    configVersion: run.state.settings.version,
    stopTimeout: settings.stopTimeout,
    reservations: plan.reservations,
    peaks: plan.peaks,
    share: plan.share,
    adopted: false,
  };
}

export function blank(
  now: Milliseconds,
): Omit<
  Replica,
  'id' | 'generation' | 'model' | 'driver' | 'specHash' | 'configVersion' | 'stopTimeout' | 'reservations' | 'adopted'
> {
  return {
    phase: 'reserved',
    peaks: new Map(),
    share: NO_SHARE,
    port: null,
    endpoint: null,
    leases: new Set(),
    createdAt: now,
    launchedAt: null,
    readyAt: null,
    idleSince: now,
    stopReason: null,
    progress: null,
    spent: new Map(),
    milestone: null,
    shakenAt: null,
    measured: false,
    exited: false,
    stopSent: false,
    health: { refusedInRow: 0, slowInRow: 0, quietSince: null },
  };
}

/** Its turn at the gate has come and its bytes are free. */
export function launch(run: Run, replica: Replica): void {
  const { state, now } = run;
  const model = state.models.get(replica.model);
  if (!model) return;
  takeGate(state, replica, now);
  moveTo(replica, 'starting');
  replica.launchedAt = now;
  state.counters.starts += 1;
  if (model.settings.needsPort) {
    replica.port = takePort(state);
    if (replica.port === null) {
      startFailed(run, replica, 'port_in_use', 'every port of drivers.process.port_range is taken.');
      return;
    }
  }
  state.deadlines.set(`start:${replica.id}`, now + model.settings.startTimeout);
  state.deadlines.set(`stall:${replica.id}`, now + model.settings.startStallTimeout);
  syncClocks(run, model);
  decide(run, 'replica.starting', { model: model.name, replica: replica.id }, waitersOf(model));
  run.effects.push({
    kind: 'replica.launch',
    replica: refOf(replica),
    model: model.name,
    specHash: replica.specHash,
    reservations: replica.reservations,
    share: replica.share,
    port: replica.port,
  });
}

function waitersOf(model: Model): string {
  if (model.queue.size === 0) return 'Nobody waits for it yet: it was asked for ahead of demand.';
  return model.queue.size === 1 ? 'One request waits for it.' : `${model.queue.size} requests wait for it.`;
}

/** The next port of the range that no replica holds; null when there is none. Ports go round, so that one just freed rests. */
export function takePort(state: FleetState): number | null {
  const { first, last } = state.settings.ports;
  for (let tried = 0; tried <= last - first; tried += 1) {
    const port = state.nextPort < first || state.nextPort > last ? first : state.nextPort;
    state.nextPort = port + 1;
    if (!state.ports.has(port)) {
      state.ports.add(port);
      return port;
    }
  }
  return null;
}

/** A port that its engine needs comes free soon: all are held, and one of those who hold one is leaving. */
export function awaitsPort(state: FleetState, replica: Replica): boolean {
  const { first, last } = state.settings.ports;
  if (state.ports.size <= last - first || state.models.get(replica.model)?.settings.needsPort !== true) return false;
  for (const other of state.replicas.values()) {
    if (other.port !== null && (other.phase === 'draining' || other.phase === 'stopping')) return true;
  }
  return false;
}

export function launched(run: Run, replica: Replica, endpoint: Endpoint): void {
  replica.endpoint = endpoint;
  if (replica.phase === 'starting') progressed(run, replica, 'launched', null, null);
}

export function progressed(
  run: Run,
  replica: Replica,
  phase: string,
  fraction: number | null,
  milestone: StartMilestone | null,
): void {
  if (replica.phase !== 'starting') return;
  enterPhase(replica, advanced(replica.progress, phase, fraction, run.now), run.now);
  const model = run.state.models.get(replica.model);
  if (model) run.state.deadlines.set(`stall:${replica.id}`, run.now + model.settings.startStallTimeout);
  if (milestone !== null) reach(run, replica, milestone);
}

/** Milestones are reached once, in order; one that was not told of is reached with the next. */
function reach(run: Run, replica: Replica, milestone: StartMilestone): void {
  if (replica.milestone === 'profiled' || replica.milestone === milestone) return;
  const late = replica.milestone === null && milestone === 'profiled';
  if (replica.milestone === null) {
    const by = replica.adopted ? null : whatMovesBeside(run, replica, late);
    replica.milestone = 'loading';
    if (by !== null) disturb(run, replica, by);
    if (replica.phase !== 'starting') return;
  }
  if (milestone !== 'profiled') return;
  replica.milestone = 'profiled';
  releaseGate(run.state, replica, run.now);
  run.capacityChanged = true;
}

/** Who changes, or has just changed, the free memory that it has measured; null = nobody. */
function whatMovesBeside(run: Run, replica: Replica, anyTime: boolean): string | null {
  for (const other of neighbours(run.state, replica)) {
    if (other.phase === 'stopping') return other.id;
  }
  const { shakenAt } = replica;
  return shakenAt !== null && (anyTime || run.now - shakenAt < NEWS_LAG) ? 'one that has just left' : null;
}

/**
 * An engine may fail over memory that moved beside it before word came that it had begun to load. Then it was not short of
 * memory: it is begun anew, and not often, because a start that was begun anew is passed by nobody.
 */
function whoSpoiltIt(run: Run, replica: Replica, model: Model | undefined): string | null {
  if (!isMeasuring(replica) || replica.share.kvCacheBytes !== null) return null;
  return model !== undefined && model.disturbed < MAX_SPOILT ? whatMovesBeside(run, replica, true) : null;
}

export function becameReady(run: Run, replica: Replica): void {
  const { state, now } = run;
  const model = state.models.get(replica.model);
  if (replica.phase !== 'starting' || !model || model.current !== replica.id || replica.endpoint === null) return;
  moveTo(replica, 'ready');
  replica.readyAt = now;
  replica.idleSince = now;
  learnStart(run, model, replica);
  replica.progress = null;
  state.deadlines.delete(`start:${replica.id}`);
  state.deadlines.delete(`stall:${replica.id}`);
  releaseGate(state, replica, now);
  endRest(run, model);
  model.portRetryUsed = false;
  model.portsSkipped = 0;
  model.disturbed = 0;
  model.displaced.clear();
  // A port that a stranger held is nobody's failure once the model is up.
  if (model.lastFailure?.cause === 'port_in_use') model.lastFailure = null;
  model.loadRequested = false;
  syncClocks(run, model);
  const seconds = ((now - (replica.launchedAt ?? now)) / 1000).toFixed(1);
  decide(
    run,
    'replica.ready',
    { model: model.name, replica: replica.id },
    replica.adopted ? 'It was running already and is ours: adopted.' : `Ready after ${seconds} s.`,
  );
  run.effects.push({ kind: 'replica.watch', replica: refOf(replica), model: model.name });
  syncGrantable(run, model);
  dispatch(run);
  armIdle(run, replica);
  syncTurnDeadlines(run);
  run.capacityChanged = true;
}

/**
 * Without rest: once when an engine found its port taken, which may have cost it minutes; and on and on, within a bound,
 * while ports are found taken before anything runs, as beside another gateway with the same range.
 */
function takesAnotherPort(model: Model, replica: Replica): boolean {
  if (replica.port === null) return false;
  if (replica.endpoint === null) {
    model.portsSkipped += 1;
    return model.portsSkipped < MAX_PORTS_SKIPPED;
  }
  if (model.portRetryUsed) return false;
  model.portRetryUsed = true;
  return true;
}

/** `shortage`: bytes that each of its devices lacked, when it said so. */
export function startFailed(
  run: Run,
  replica: Replica,
  cause: StartFailureCause,
  message: string,
  shortage: Bytes | null = null,
): void {
  const { state } = run;
  if (replica.phase !== 'starting') return;
  const model = state.models.get(replica.model);
  const by = cause === 'out_of_memory' ? whoSpoiltIt(run, replica, model) : null;
  if (by !== null) {
    disturb(run, replica, by);
    return;
  }
  state.counters.startsFailed += 1;
  stopNow(run, replica, 'start_failed');
  if (!model) return;
  decide(run, 'replica.start_failed', { model: model.name, replica: replica.id }, message, { cause });
  if (cause === 'port_in_use' && takesAnotherPort(model, replica)) {
    recordFailure(run, model, cause, message);
    state.orphaned.add(model.name);
    return;
  }
  model.portRetryUsed = false;
  model.portsSkipped = 0;
  model.disturbed = 0;
  // What was there is gone, or never was what it seemed.
  if (cause === 'image' || cause === 'model_files') model.prepared = !model.settings.needsPreparation;
  if (cause === 'out_of_memory') doubtFootprint(run, model, replica);
  if (cause === 'out_of_memory' && shortage !== null) recordShortage(run, model, replica, shortage);
  failWaiters(run, model, cause, message);
  restoreDisplaced(run, model, replica);
}

export function startTimeOut(run: Run, replica: Replica, which: 'start' | 'stall'): void {
  const model = run.state.models.get(replica.model);
  const limit = which === 'start' ? model?.settings.startTimeout : model?.settings.startStallTimeout;
  const seconds = Math.round((limit ?? 0) / 1000);
  const phase = replica.progress?.phase ?? LAUNCH;
  const message =
    which === 'start'
      ? `it was not ready within ${seconds} s (start_timeout); last phase: ${phase}.`
      : `it showed no progress for ${seconds} s (start_stall_timeout); last phase: ${phase}.`;
  startFailed(run, replica, 'start_timeout', message);
}

/** The rest is over: what still wants the model starts it. */
export function backoffOver(run: Run, model: Model): void {
  if (isBackingOff(model, run.now)) return;
  model.backoff.until = null;
  if (model.current === null) run.state.orphaned.add(model.name);
  run.capacityChanged = true;
}
