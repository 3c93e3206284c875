/** Replicas, their models' pointers to them, the gates of devices, and the places in line. */
import type { FleetState, Model, Replica } from '../state.ts';
import { sameSet, type Report } from './report.ts';

export function checkReplicas(state: FleetState, report: Report): void {
  for (const replica of state.replicas.values()) replicaIsSound(state, replica, report);
  for (const model of state.models.values()) modelIsSound(state, model, report);
  line(state, report);
  gates(state, report);
  gateQueue(state, report);
}

const arriving = (replica: Replica): boolean =>
  replica.phase === 'reserved' || replica.phase === 'starting' || replica.phase === 'ready';

function replicaIsSound(state: FleetState, replica: Replica, report: Report): void {
  const { id, phase } = replica;
  const current = state.models.get(replica.model)?.current ?? null;
  report(
    'I-26',
    arriving(replica) === (current === id),
    () => `${phase} replica ${id}; its model points to ${current}`,
  );
  const sent = phase === 'stopping' || phase === 'zombie';
  report('I-33', replica.stopSent === sent, () => `${phase} replica ${id}: stop sent is ${replica.stopSent}`);
  report('I-25', (replica.launchedAt === null) === (phase === 'reserved'), () => `${phase} ${id}: launch time`);
  if (phase === 'ready') {
    report('I-28', replica.readyAt !== null && replica.endpoint !== null, () => `ready replica ${id} has no address`);
  }
  const leaving = phase === 'draining' || sent;
  report('I-25', leaving === (replica.stopReason !== null), () => `${phase} ${id}: stop reason ${replica.stopReason}`);
}

function modelIsSound(state: FleetState, model: Model, report: Report): void {
  const { name } = model;
  const current = model.current === null ? undefined : state.replicas.get(model.current);
  report('I-34', model.current === null || current?.model === name, () => `${name} points to ${model.current}`);
  const phase = current?.phase;
  const waiting = model.queueClock.runningSince !== null;
  const preparing = model.preparation !== null;
  const held = phase === 'starting' || preparing;
  report('clock', waiting !== held, () => `queue clock of ${name} runs: ${waiting}, phase ${phase}`);
  const cold = model.coldClock.runningSince !== null;
  const coming = phase === 'starting' || phase === 'reserved' || preparing;
  report('clock', cold === coming, () => `cold clock of ${name} runs: ${cold}, phase ${phase}`);
  if (preparing) {
    const wanted = model.queue.size > 0 || model.loadRequested || model.pinned || model.settings.alwaysOn;
    report('prepare', wanted, () => `files of ${name} are fetched and nobody wants it`);
    const fitting = model.current === null && !model.prepared && model.backoff.until === null && !state.shutdown;
    report('prepare', fitting, () => `files of ${name} are fetched, which has ${model.current} or rests`);
  }
  const at = (model.generation > 0 && current?.generation) || 0;
  report('I-18', at <= model.generation, () => `${name}: generation ${at} is above its count ${model.generation}`);
}

/** The line of models without a place holds exactly those that have a demand which can wait. */
function line(state: FleetState, report: Report): void {
  const expected = new Set<string>();
  for (const model of state.models.values()) if (model.unplacedSince !== null) expected.add(model.name);
  sameSet(report, 'unplaced', 'unplaced', new Set(state.unplaced), expected);
  for (const name of expected) {
    const model = state.models.get(name);
    if (!model) continue;
    const wanted = model.queue.size > 0 || model.loadRequested || model.pinned || model.settings.alwaysOn;
    report('unplaced', wanted, () => `${name} waits for a place and nobody wants it`);
    report('unplaced', model.current === null, () => `${name} waits for a place and has ${model.current}`);
    report('unplaced', model.backoff.until === null, () => `${name} waits for a place while it rests`);
    report('unplaced', model.settings.unstartable === null, () => `${name} waits for a place and cannot be started`);
    report('unplaced', state.shutdown === null, () => `${name} waits for a place during shutdown`);
    report('prepare', model.prepared, () => `${name} waits for memory before its files are there`);
  }
  for (const model of state.models.values()) {
    report(
      'unplaced',
      model.waitingFor === null || expected.has(model.name),
      () => `${model.name}: stale reason to wait`,
    );
  }
}

function gates(state: FleetState, report: Report): void {
  for (const device of state.devices.values()) {
    const since = device.gateSince;
    report('I-43', (device.gateHolder === null) === (since === null), () => `${device.id}: held since ${since}`);
    if (device.gateHolder === null) continue;
    const holder = state.replicas.get(device.gateHolder);
    const changing = holder?.phase === 'starting' || holder?.phase === 'stopping';
    report('I-43', changing, () => `gate of ${device.id} is held by ${device.gateHolder}, which is ${holder?.phase}`);
    report('I-43', holder?.reservations.has(device.id) === true, () => `${device.gateHolder} is not on ${device.id}`);
  }
  for (const replica of state.replicas.values()) {
    // What an earlier run started is past its sizing: it may begin without the gate.
    if (replica.phase !== 'starting' || replica.adopted || replica.milestone === 'profiled') continue;
    for (const id of replica.reservations.keys()) {
      const holder = state.devices.get(id)?.gateHolder ?? '';
      // One that stops may have passed it, as long as it had not begun to load.
      const passed = replica.milestone === null && state.replicas.get(holder)?.phase === 'stopping';
      const fine = holder === replica.id || passed || replica.share.kvCacheBytes !== null;
      report('I-43', fine, () => `starting ${replica.id} does not hold the gate of ${id}: ${holder}`);
    }
  }
}

function gateQueue(state: FleetState, report: Report): void {
  const waiting = new Set<string>();
  for (const request of state.gateQueue) {
    const phase = state.replicas.get(request.replicaId)?.phase;
    const fitting = request.operation === 'start' ? 'reserved' : 'draining';
    report('gate', phase === fitting, () => `${request.operation} of ${request.replicaId} waits, which is ${phase}`);
    report('gate', !waiting.has(request.replicaId), () => `${request.replicaId} waits for its gates twice`);
    waiting.add(request.replicaId);
  }
  for (const replica of state.replicas.values()) {
    if (replica.phase !== 'reserved') continue;
    report('gate', waiting.has(replica.id), () => `reserved ${replica.id} does not wait for its gates`);
  }
}
