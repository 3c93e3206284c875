/** How a replica leaves: no new grants in this very step, its leases run out (or are cut), then the stop, then verified gone. */
import { gatewayError, type GatewayError } from '../../errors.ts';
import { formatSize } from '../../units.ts';
import { syncGrantable } from '../admission/dispatch.ts';
import { decide, refOf, type Run } from '../run.ts';
import type { Model, Replica, StopReason } from '../state.ts';
import { forgetFailures } from './backoff.ts';
import { syncClocks } from './clocks.ts';
import { forgetVanished } from './devices.ts';
import { moveTo } from './replica.ts';
import {
  isMeasuring,
  leaveGateQueue,
  neighbours,
  releaseGate,
  requestGate,
  shake,
  takeFreeGates,
  takeGate,
} from './start-gate.ts';
import { isWanted } from './wanted.ts';

/** The model has no replica that is reserved, starting or ready any more. */
export function detach(run: Run, replica: Replica): void {
  const model = run.state.models.get(replica.model);
  if (!model || model.current !== replica.id) return;
  model.current = null;
  forgetFailures(run, model, replica);
  if (replica.launchedAt !== null && mayBeSized(model)) model.prepared = !model.settings.needsPreparation;
  if (model.queue.size > 0) run.state.orphaned.add(model.name);
  syncClocks(run, model);
  syncGrantable(run, model);
}

/** Nobody has looked for its size, or in vain for a reason that may have passed: the next start looks again. */
function mayBeSized({ size, settings }: Model): boolean {
  return size === null ? settings.sizing !== null : size.kind === 'unknown' && size.passing;
}

function forgetDeadlines(run: Run, replica: Replica): void {
  for (const name of ['idle', 'start', 'stall', 'drain']) run.state.deadlines.delete(`${name}:${replica.id}`);
}

/** Ready → draining. Its leases may run for `drain_timeout`; without leases it stops now. */
export function drain(run: Run, replica: Replica, reason: StopReason): void {
  moveTo(replica, 'draining');
  replica.stopReason = reason;
  forgetDeadlines(run, replica);
  run.effects.push({ kind: 'replica.unwatch', replica: refOf(replica) });
  detach(run, replica);
  run.capacityChanged = true;
  if (replica.leases.size === 0) {
    stopWhenQuiet(run, replica);
    return;
  }
  run.state.deadlines.set(`drain:${replica.id}`, run.now + run.state.settings.limits.drainTimeout);
}

/** A lease of a replica that is leaving ended. */
export function leaseLeft(run: Run, replica: Replica): void {
  if (replica.phase === 'draining' && replica.leases.size === 0) stopWhenQuiet(run, replica);
}

export function drainTimeOut(run: Run, replica: Replica): void {
  if (replica.phase !== 'draining') return;
  const message = `The engine of model '${replica.model}' had to leave (${replica.stopReason ?? 'drain'}) and this request outlived limits.drain_timeout.`;
  cutLeases(run, replica, gatewayError('drain_timeout', message));
  stopWhenQuiet(run, replica);
}

export function cutLeases(run: Run, replica: Replica, error: GatewayError): void {
  for (const id of replica.leases) {
    const lease = run.state.leases.get(id);
    if (!lease || lease.cut) continue;
    lease.cut = true;
    run.effects.push({ kind: 'lease.cut', id, error });
  }
}

/** The stop signal frees memory, so it waits for the gates of its devices; at shutdown nothing starts, so it need not. */
function stopWhenQuiet(run: Run, replica: Replica): void {
  run.state.deadlines.delete(`drain:${replica.id}`);
  requestGate(run.state, { replicaId: replica.id, operation: 'stop', since: run.now });
  run.capacityChanged = true;
}

/** Its turn at the gate has come. */
export function beginStop(run: Run, replica: Replica): void {
  leaveGateQueue(run.state, replica.id);
  takeGate(run.state, replica, run.now);
  moveTo(replica, 'stopping');
  sendStop(run, replica, false);
}

/** Starting or ready → stopping at once: it failed, died, hangs, or must not go on. Gates do not hold this back. */
export function stopNow(run: Run, replica: Replica, reason: StopReason): void {
  if (replica.phase === 'stopping' || replica.phase === 'zombie') return;
  const starting = replica.phase === 'starting';
  if (replica.phase === 'ready') run.effects.push({ kind: 'replica.unwatch', replica: refOf(replica) });
  moveTo(replica, 'stopping');
  replica.stopReason ??= reason;
  forgetDeadlines(run, replica);
  leaveGateQueue(run.state, replica.id);
  takeFreeGates(run.state, replica, run.now);
  detach(run, replica);
  sendStop(run, replica, starting);
  run.capacityChanged = true;
  disturbNeighbours(run, replica);
}

/** Who has begun to load beside a change of memory has measured, or will measure, what is not so. */
function disturbNeighbours(run: Run, replica: Replica): void {
  for (const other of neighbours(run.state, replica)) {
    if (isMeasuring(other) && other.milestone === 'loading') disturb(run, other, replica.id);
  }
}

/** Its start is begun anew: how much it would take is anybody's guess. One that was told its KV cache measures nothing. */
export function disturb(run: Run, replica: Replica, by: string): void {
  if (replica.share.kvCacheBytes !== null) return;
  const model = run.state.models.get(replica.model);
  decide(
    run,
    'replica.disturbed',
    { model: replica.model, replica: replica.id },
    `Memory changed beside it (${by}) while it measured what is free: it is started again.`,
  );
  stopNow(run, replica, 'start_failed');
  if (!model) return;
  model.disturbed += 1;
  if (isWanted(model)) run.state.orphaned.add(model.name);
}

function sendStop(run: Run, replica: Replica, starting: boolean): void {
  if (replica.stopSent) return;
  replica.stopSent = true;
  const model = run.state.models.get(replica.model);
  run.effects.push({
    kind: 'replica.stop',
    replica: refOf(replica),
    model: replica.model,
    reason: replica.stopReason ?? 'unload',
    timeout: model?.settings.stopTimeout ?? replica.stopTimeout,
    starting,
    exited: replica.exited,
  });
}

/** Verified gone, memory back: only now are its bytes free. */
export function stopped(run: Run, replica: Replica): void {
  const { state } = run;
  if (replica.phase === 'zombie') for (const id of replica.reservations.keys()) clearQuarantine(run, id, replica.id);
  decide(run, 'replica.gone', { model: replica.model, replica: replica.id }, whyGone(run, replica));
  remove(run, replica);
  state.counters.stops += 1;
}

function whyGone(run: Run, replica: Replica): string {
  const reason = replica.stopReason ?? 'asked';
  const external = run.state.models.get(replica.model)?.settings.driver === 'external';
  return external
    ? `It is no longer used (${reason}); whoever runs its engine keeps it running.`
    : `Its engine has ended (${reason}) and what was promised to it is free.`;
}

/** A reserved replica that was never launched: nothing to stop. */
export function withdraw(run: Run, replica: Replica, why: string): void {
  decide(run, 'replica.withdrawn', { model: replica.model, replica: replica.id }, why);
  detach(run, replica);
  remove(run, replica);
}

function remove(run: Run, replica: Replica): void {
  const { state } = run;
  forgetDeadlines(run, replica);
  leaveGateQueue(state, replica.id);
  releaseGate(state, replica, run.now);
  if (replica.port !== null) state.ports.delete(replica.port);
  state.replicas.delete(replica.id);
  detach(run, replica);
  if (replica.launchedAt !== null) {
    shake(state, replica, run.now);
    disturbNeighbours(run, replica);
  }
  forgetVanished(state);
  run.capacityChanged = true;
}

export function stopFailed(run: Run, replica: Replica, detail: string): void {
  if (replica.phase !== 'stopping') return;
  moveTo(replica, 'zombie');
  releaseGate(run.state, replica, run.now);
  for (const id of replica.reservations.keys()) {
    const device = run.state.devices.get(id);
    if (device) device.quarantine = `${closedBy(replica, id)}: ${detail}`;
  }
  decide(
    run,
    'replica.stuck',
    { model: replica.model, replica: replica.id },
    `It could not be seen to be gone (${detail}): its bytes stay promised and its devices take no start.`,
  );
  run.capacityChanged = true;
}

const closedBy = (replica: Replica, deviceId: string): string =>
  `replica ${replica.id} with ${formatSize(replica.reservations.get(deviceId) ?? 0)} is not seen to be gone`;

function clearQuarantine(run: Run, deviceId: string, replicaId: string): void {
  const device = run.state.devices.get(deviceId);
  if (!device) return;
  const other = [...run.state.replicas.values()].find(
    (replica) => replica.id !== replicaId && replica.phase === 'zombie' && replica.reservations.has(deviceId),
  );
  // It names the last one that got stuck, which may be the one that is gone now.
  if (!other) device.quarantine = null;
  else if (device.quarantine?.includes(other.id) !== true) device.quarantine = closedBy(other, deviceId);
}
