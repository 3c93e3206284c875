/** Every deadline belongs to something that lives, and whatever must end some day has one. */
import type { FleetState, Model, Replica } from '../state.ts';
import type { Report } from './report.ts';

type Need = 'must' | 'may' | 'must not';

export function checkDeadlines(state: FleetState, report: Report): void {
  const known = new Map<string, Need>();
  for (const model of state.models.values()) {
    for (const [name, need] of ofModel(state, model)) known.set(`${name}:${model.name}`, need);
    for (const ticket of model.queue) {
      if (ticket.patienceUntil !== null) known.set(`patience:${ticket.id}`, 'must');
    }
  }
  for (const replica of state.replicas.values()) {
    for (const [name, need] of ofReplica(state, replica)) known.set(`${name}:${replica.id}`, need);
  }
  known.set('shutdown', state.shutdown && !state.shutdown.done ? 'may' : 'must not');
  for (const key of state.deadlines.keys()) {
    const need = known.get(key);
    report('I-76', need !== undefined, () => `deadline ${key} belongs to nothing that lives`);
    report('I-76', need !== 'must not', () => `deadline ${key} is armed and should not be`);
  }
  for (const [key, need] of known) {
    report('I-76', need !== 'must' || state.deadlines.at(key) !== undefined, () => `deadline ${key} is missing`);
  }
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
