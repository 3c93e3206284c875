import { describe, expect, it } from 'vitest';
import { GIB } from '../units.ts';
import { Story } from '../../test/simulation/story.ts';
import { simulatedDevice, simulatedModel } from '../../test/simulation/scenario.ts';
import { checkInvariants } from './invariants.ts';
import type { FleetState, Replica } from './state.ts';

/** A fleet in the middle of things: one model busy with a line, one in line for memory, one starting. */
function busyFleet(): FleetState {
  const story = new Story({
    devices: ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24)),
    models: [
      simulatedModel('busy', { maxConcurrent: 2, memory: 15 * GIB, deviceIds: ['gpu-0'] }),
      simulatedModel('waiting', { memory: 15 * GIB, deviceIds: ['gpu-0'] }),
      simulatedModel('starting', { memory: 10 * GIB, deviceIds: ['gpu-1'] }, { loadMs: 500_000 }),
      simulatedModel('reserved', { memory: 5 * GIB, deviceIds: ['gpu-1'] }),
      simulatedModel('fetching', { memory: GIB, needsPreparation: true }, { prepareMs: 500_000 }),
    ],
  });
  story.ask('busy', 5, { workMs: 900_000 });
  story.ask('starting', 2, { patience: 400_000 });
  story.ask('reserved');
  story.ask('fetching');
  story.untilReady('busy');
  story.ask('waiting', 2);
  return story.state;
}

const replicaOf = (state: FleetState, model: string): Replica => {
  const found = [...state.replicas.values()].find((replica) => replica.model === model);
  if (!found) throw new Error(`no replica of ${model}`);
  return found;
};

const model = (state: FleetState, name: string) => {
  const found = state.models.get(name);
  if (!found) throw new Error(`no model ${name}`);
  return found;
};

/** One thing wrong at a time, as a bug in the core would leave it. */
const BREAKS: readonly [string, string, (state: FleetState) => void][] = [
  ['I-1', 'a request that is counted twice', (state) => void (state.counters.received += 1)],
  ['I-1', 'a lease that ended uncounted', (state) => void (state.counters.released += 1)],
  [
    'I-3',
    'a ticket that is registered and in no line',
    (state) => {
      const [first] = model(state, 'busy').queue;
      if (first) state.tickets.set('ghost', { ...first, id: 'ghost' });
    },
  ],
  ['I-3', 'a lease that its replica does not know', (state) => replicaOf(state, 'busy').leases.clear()],
  [
    'I-4',
    'a ticket that waits and runs',
    (state) => {
      const [lease] = state.leases.values();
      if (lease) model(state, 'busy').queue.push(lease.ticket);
    },
  ],
  [
    'I-15',
    'a free slot beside a line',
    (state) => void (model(state, 'busy').settings = { ...model(state, 'busy').settings, maxConcurrent: 9 }),
  ],
  [
    'I-16',
    'more leases than slots',
    (state) => void (model(state, 'busy').settings = { ...model(state, 'busy').settings, maxConcurrent: 1 }),
  ],
  ['I-26', 'a model that forgot its replica', (state) => void (model(state, 'busy').current = null)],
  ['I-28', 'a ready replica without an address', (state) => void (replicaOf(state, 'busy').endpoint = null)],
  [
    'I-30',
    'tickets that nothing is coming for',
    (state) => {
      state.unplaced.delete('waiting');
      model(state, 'waiting').unplacedSince = null;
    },
  ],
  ['I-35', 'a port that is in use and not claimed', (state) => state.ports.clear()],
  [
    'I-38',
    'more bytes than a device has',
    (state) => {
      const device = state.devices.get('gpu-0');
      if (device) device.budgetBytes = GIB;
    },
  ],
  ['I-41', 'bytes on a device that is not there', (state) => void state.devices.delete('gpu-0')],
  [
    'I-43',
    'a start without its gate',
    (state) => {
      const device = state.devices.get('gpu-1');
      if (device) device.gateHolder = null;
    },
  ],
  [
    'I-43',
    'a gate that nobody holds any more',
    (state) => {
      const device = state.devices.get('gpu-0');
      if (device) device.gateHolder = 'ghost';
    },
  ],
  [
    'I-41',
    'a peak below what stays',
    (state) => {
      const replica = replicaOf(state, 'starting');
      replica.reservations = new Map([['gpu-1', 11 * GIB]]);
    },
  ],
  [
    'I-43',
    'a gate that is held since nobody knows when',
    (state) => {
      const device = state.devices.get('gpu-1');
      if (device) device.gateSince = null;
    },
  ],
  [
    'I-48',
    'a start that is to begin where nothing can be read',
    (state) => {
      const device = state.devices.get('gpu-1');
      if (device) device.silent = 'nobody answers';
    },
  ],
  ['I-76', 'a download that may last for ever', (state) => state.deadlines.delete('prepare:fetching')],
  ['I-76', 'a download that may hang for ever', (state) => state.deadlines.delete('prepstall:fetching')],
  [
    'clock',
    'a queue clock that runs while files are fetched',
    (state) => void (model(state, 'fetching').queueClock.runningSince = 0),
  ],
  [
    'device',
    'a device that is neither configured nor in use',
    (state) => {
      const device = state.devices.get('gpu-1');
      if (device) state.devices.set('gone', { ...device, id: 'gone', gateHolder: null, gateSince: null });
    },
  ],
  [
    'prepare',
    'files that are fetched for one that has them',
    (state) => void (model(state, 'fetching').prepared = true),
  ],
  [
    'I-76',
    'a start that may last for ever',
    (state) => state.deadlines.delete(`start:${replicaOf(state, 'starting').id}`),
  ],
  [
    'I-76',
    'a client whose patience nobody watches',
    (state) => {
      for (const ticket of model(state, 'starting').queue) state.deadlines.delete(`patience:${ticket.id}`);
    },
  ],
  ['I-76', 'a line whose time nobody watches', (state) => state.deadlines.delete('queue:busy')],
  ['I-76', 'an alarm for one that is long gone', (state) => state.deadlines.set('idle:ghost', 1)],
  [
    'clock',
    'a queue clock that runs during a start',
    (state) => void (model(state, 'starting').queueClock.runningSince = 0),
  ],
  [
    'gate',
    'a stop that waits for one that is ready',
    (state) => void state.gateQueue.push({ replicaId: replicaOf(state, 'busy').id, operation: 'stop', since: 0 }),
  ],
  ['orphaned', 'a model that was to be looked at again', (state) => void state.orphaned.add('busy')],
  [
    'quarantine',
    'a device that is closed for no reason',
    (state) => {
      const device = state.devices.get('gpu-0');
      if (device) device.quarantine = 'nobody knows';
    },
  ],
  ['unplaced', 'a place in line for one that has a replica', (state) => void (model(state, 'busy').unplacedSince = 0)],
];

describe('checkInvariants', () => {
  it('finds nothing wrong with a fleet in the middle of things', () => {
    expect(checkInvariants(busyFleet())).toEqual([]);
  });

  it.each(BREAKS)('%s: sees %s', (id, _what, breakIt) => {
    const state = busyFleet();
    breakIt(state);
    expect(checkInvariants(state).map((violation) => violation.id)).toContain(id);
  });
});
