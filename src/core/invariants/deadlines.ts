/** Every deadline belongs to something that lives, and whatever must end some day has one. */
import type { FleetState, Model, Replica } from '../state.ts';
import type { Report } from './report.ts';

type Need = 'must' | 'may' | 'must not';

export function checkDeadlines(state: FleetState, report: Report): void {
  let armed = 0;
  expectAll(state, (key, need) => {
    const isArmed = state.deadlines.at(key) !== undefined;
    if (isArmed) armed += 1;
    report('I-76', !isArmed || need !== 'must not', () => `deadline ${key} is armed and should not be`);
    report('I-76', isArmed || need !== 'must', () => `deadline ${key} is missing`);
  });
  report('I-76', armed === state.deadlines.size, () => `deadlines belong to nothing that lives: ${strays(state)}`);
}

function expectAll(state: FleetState, expect: (key: string, need: Need) => void): void {
  for (const model of state.models.values()) {
    for (const [name, need] of ofModel(state, model)) expect(`${name}:${model.name}`, need);
    for (const ticket of model.queue) if (ticket.patienceUntil !== null) expect(`patience:${ticket.id}`, 'must');
  }
  for (const replica of state.replicas.values()) {
    for (const [name, need] of ofReplica(state, replica)) expect(`${name}:${replica.id}`, need);
  }
  expect('shutdown', state.shutdown && !state.shutdown.done ? 'may' : 'must not');
}

function strays(state: FleetState): string {
  const keys = new Set(state.deadlines.keys());
  expectAll(state, (key) => keys.delete(key));
  return [...keys].join(', ');
}

const when = (condition: boolean, need: Need): Need => (condition ? need : 'must not');

function ofModel(state: FleetState, model: Model): [string, Need][] {
  const waitsForPlace = state.unplaced.has(model.name);
  return [
    ['queue', when(model.queue.size > 0 && model.queueClock.runningSince !== null, 'must')],
    ['backoff', when(model.backoff.until !== null, 'must')],
    ['turn', when(waitsForPlace && state.settings.limits.maxTurn > 0, 'may')],
    ['settle', when(waitsForPlace, 'may')],
    ['prepare', when(model.preparation !== null, 'must')],
    ['prepstall', when(model.preparation !== null, 'must')],
  ];
}

function ofReplica(state: FleetState, replica: Replica): [string, Need][] {
  const { phase } = replica;
  const model = state.models.get(replica.model);
  const mayIdle =
    phase === 'ready' &&
    replica.leases.size === 0 &&
    model !== undefined &&
    model.queue.size === 0 &&
    model.settings.inactivityTimeout > 0 &&
    !model.settings.alwaysOn &&
    !model.pinned;
  const mayStop = state.gateQueue.some((request) => request.replicaId === replica.id && request.operation === 'stop');
  return [
    ['start', when(phase === 'starting', 'must')],
    ['stall', when(phase === 'starting', 'must')],
    ['idle', when(mayIdle, 'must')],
    ['drain', when(phase === 'draining' && !mayStop, 'must')],
  ];
}
