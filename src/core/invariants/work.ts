/** Tickets, leases, queues and counters: who waits, who runs, and that nobody is forgotten. */
import type { FleetState, Model } from '../state.ts';
import { sameSet, type Report } from './report.ts';

export function checkWork(state: FleetState, report: Report): void {
  conservation(state, report);
  tickets(state, report);
  leases(state, report);
  for (const model of state.models.values()) {
    queue(state, model, report);
    somethingIsComing(state, model, report);
  }
  grants(state, report);
}

function conservation(state: FleetState, report: Report): void {
  const { received, refused, abandoned, released, returned, grantedTotal } = state.counters;
  const accounted = refused + abandoned + released + state.tickets.size + state.leases.size;
  report('I-1', received === accounted, () => `received ${received}, accounted for ${accounted}`);
  const granted = released + returned + state.leases.size;
  report('I-1', grantedTotal === granted, () => `granted ${grantedTotal}, ended or running ${granted}`);
  report('orphaned', state.orphaned.size === 0, () => `left after the step: ${[...state.orphaned].join(', ')}`);
}

function tickets(state: FleetState, report: Report): void {
  const queued = new Set<string>();
  for (const model of state.models.values()) {
    for (const ticket of model.queue) {
      report('I-4', !queued.has(ticket.id), () => `ticket ${ticket.id} is queued twice`);
      report('I-4', ticket.model === model.name, () => `ticket ${ticket.id} of ${ticket.model} waits at ${model.name}`);
      report('I-4', state.tickets.get(ticket.id) === ticket, () => `ticket ${ticket.id} is queued and not registered`);
      report('I-4', !state.leases.has(ticket.id), () => `ticket ${ticket.id} waits and runs`);
      queued.add(ticket.id);
    }
  }
  report('I-3', queued.size === state.tickets.size, () => `${state.tickets.size} tickets, ${queued.size} queued`);
}

function leases(state: FleetState, report: Report): void {
  for (const [id, lease] of state.leases) {
    const replica = state.replicas.get(lease.replicaId);
    report('I-3', !replica || replica.leases.has(id), () => `lease ${id} is unknown to its replica ${lease.replicaId}`);
  }
  for (const replica of state.replicas.values()) {
    for (const id of replica.leases) {
      const lease = state.leases.get(id);
      report(
        'I-3',
        lease?.replicaId === replica.id,
        () => `replica ${replica.id} has a lease ${id} that is not its own`,
      );
    }
    const early = replica.phase === 'reserved' || replica.phase === 'starting';
    report('I-19', !early || replica.leases.size === 0, () => `${replica.phase} replica ${replica.id} has leases`);
    const slots = state.models.get(replica.model)?.settings.maxConcurrent ?? Infinity;
    // A reload may take slots away from leases that were granted under the old settings.
    const reloaded = [...replica.leases].some(
      (id) => state.leases.get(id)?.ticket.configVersion !== state.settings.version,
    );
    report(
      'I-16',
      replica.leases.size <= slots || reloaded,
      () => `replica ${replica.id} has ${replica.leases.size} leases and ${slots} slots`,
    );
  }
}

function queue(state: FleetState, model: Model, report: Report): void {
  const wrong = model.queue.recount();
  report('queue', wrong === null, () => `queue of ${model.name}: ${wrong}`);
  const { maxQueueSize, maxConcurrent } = model.settings;
  let admitted = 0;
  for (const ticket of model.queue)
    if (!ticket.returned && ticket.configVersion === state.settings.version) admitted += 1;
  const bound = maxQueueSize + maxConcurrent;
  report('I-2', admitted <= bound, () => `${admitted} tickets wait for ${model.name}, the bound is ${bound}`);
}

/** A ticket never waits for a thing that nobody is going to do. */
function somethingIsComing(state: FleetState, model: Model, report: Report): void {
  if (model.queue.size === 0) return;
  const coming =
    state.adopting ||
    model.current !== null ||
    model.preparation !== null ||
    state.unplaced.has(model.name) ||
    model.backoff.until !== null;
  report('I-30', coming, () => `${model.queue.size} tickets of ${model.name} wait and nothing is coming`);
}

function grants(state: FleetState, report: Report): void {
  const { maxInFlight } = state.settings.limits;
  const expected = new Set<string>();
  for (const model of state.models.values()) {
    const current = model.current === null ? undefined : state.replicas.get(model.current);
    if (current?.phase !== 'ready' || model.queue.size === 0) continue;
    if (current.leases.size < model.settings.maxConcurrent) expected.add(model.name);
  }
  sameSet(report, 'I-15', 'grantable', new Set(state.grantable), expected);
  const full = state.leases.size >= maxInFlight;
  report('I-15', expected.size === 0 || full, () => `${[...expected].join(', ')} could use a free lease`);
  const reloaded = [...state.leases.values()].some((lease) => lease.ticket.configVersion !== state.settings.version);
  report(
    'I-16',
    state.leases.size <= maxInFlight || reloaded,
    () => `${state.leases.size} leases, max_in_flight is ${maxInFlight}`,
  );
}
