import { describe, expect, it } from 'vitest';
import { GIB, type Milliseconds } from '../../src/units.ts';
import { Random } from './random.ts';
import { simulatedDevice, simulatedModel, type Scenario } from './scenario.ts';
import { Story } from './story.ts';

const TURN = 90_000;
/** From SIGTERM to memory seen back, in the simulated world. */
const STOP = 6_000;
const LIMITS: Scenario['limits'] = { maxInFlight: 150, maxTurn: 60_000, minResidency: 90_000, drainTimeout: 300_000 };

interface Wait {
  readonly model: string;
  readonly untilLaunch: Milliseconds;
}

/** For each granted ticket: how long it waited before the start that served it began. */
function waitsFor(story: Story): Wait[] {
  const launches = story.effects('replica.launch');
  return story.effects('ticket.granted').map(({ model, replica, queuedMs, at }) => {
    const launched = launches.find((launch) => launch.replica.id === replica.id)?.at ?? 0;
    return { model, untilLaunch: Math.max(0, launched - (at - queuedMs)) };
  });
}

describe('turn-taking', () => {
  it('[items 37, 38] serves two hot models of twenty clients each on one device for five minutes, with one swap per turn at most', () => {
    const work = 1_000;
    const load = 24_000;
    const story = new Story({
      models: ['a', 'b'].map((name) => simulatedModel(name, { memory: 15 * GIB })),
      limits: LIMITS,
    });
    const minutes = 5;
    for (const model of ['a', 'b']) {
      story.act({ kind: 'closed_loop', model, clients: 20, workMs: work, thinkMs: 0, lastsMs: minutes * 60_000 });
    }
    story.run(minutes * 60_000);
    for (const model of ['a', 'b']) {
      expect(Object.keys(story.tally(model))).toEqual(['completed']);
      expect(story.tally(model)['completed']).toBeGreaterThan(500);
    }
    const swaps = story.decisions('replica.fenced').length + story.decisions('replica.evicted').length;
    expect(swaps).toBeGreaterThan(1);
    expect(swaps).toBeLessThanOrEqual((minutes * 60_000) / TURN);
    // One model is ahead: its load, its turn, its longest lease and its stop; then the own load.
    for (const { queuedMs } of story.effects('ticket.granted')) {
      expect(queuedMs).toBeLessThanOrEqual(load + TURN + work + STOP + load);
    }
  });

  it('bounds the wait of every ticket by the turns, leases, stops and loads of the models ahead of it', () => {
    for (let seed = 1; seed <= 12; seed += 1) {
      const random = new Random(seed, 'turns');
      const count = random.int(2, 4);
      const names = Array.from({ length: count }, (_, index) => `m${index}`);
      const work = random.int(200, 40_000);
      const drainTimeout = random.int(5_000, 60_000);
      const loadMs = random.int(1_000, 30_000);
      const limits = {
        ...LIMITS,
        maxTurn: random.int(1, 60) * 1_000,
        minResidency: random.int(0, 60) * 1_000,
        drainTimeout,
      };
      const models = names.map((name) =>
        simulatedModel(
          name,
          { memory: null, queueTimeout: 3_600_000, maxConcurrent: 60, maxQueueSize: 500 },
          { loadMs },
        ),
      );
      const story = new Story({ seed, models, limits });
      for (const model of names) {
        const clients = random.int(5, 20);
        story.act({ kind: 'closed_loop', model, clients, workMs: work, thinkMs: random.int(0, 500), lastsMs: 900_000 });
      }
      story.run(900_000);
      const turn = Math.max(limits.maxTurn, limits.minResidency);
      const perModel = loadMs * 1.2 + turn + Math.min(work, drainTimeout) + 2_000 + STOP;
      for (const { model, untilLaunch } of waitsFor(story)) {
        expect(untilLaunch, `seed ${seed}, ${model}`).toBeLessThanOrEqual((count - 1) * perModel);
      }
      for (const name of names) expect(story.starts(name), `seed ${seed}, ${name}`).toBeGreaterThan(0);
    }
  });

  it('lets small models beside each other not keep a large one out for ever', () => {
    for (let seed = 1; seed <= 8; seed += 1) {
      const random = new Random(seed, 'sizes');
      const small = Array.from({ length: random.int(3, 5) }, (_, index) => `small-${index}`);
      const limits = { ...LIMITS, maxTurn: random.int(5, 30) * 1_000, minResidency: 0 };
      const story = new Story({
        seed,
        limits,
        models: [
          simulatedModel('large', { queueTimeout: 3_600_000 }, { loadMs: 10_000 }),
          ...small.map((name) =>
            simulatedModel(
              name,
              { memory: 9 * GIB, queueTimeout: 3_600_000, inactivityTimeout: 3_000 },
              { loadMs: 5_000 },
            ),
          ),
        ],
      });
      for (const model of small) {
        story.act({
          kind: 'closed_loop',
          model,
          clients: 2,
          workMs: 800,
          thinkMs: random.int(0, 4_000),
          lastsMs: 900_000,
        });
      }
      story.act({ kind: 'closed_loop', model: 'large', clients: 3, workMs: 500, thinkMs: 1_000, lastsMs: 900_000 });
      story.run(900_000);
      const perModel = 10_000 * 1.2 + limits.maxTurn + 800 + STOP;
      for (const { model, untilLaunch } of waitsFor(story)) {
        expect(untilLaunch, `seed ${seed}, ${model}`).toBeLessThanOrEqual(small.length * perModel);
      }
      expect(story.starts('large'), `seed ${seed}`).toBeGreaterThan(2);
    }
  });

  it('bounds every wait in any mix of sizes, groups and devices', () => {
    for (let seed = 1; seed <= 12; seed += 1) {
      const random = new Random(seed, 'mix');
      const devices = Array.from({ length: random.int(1, 3) }, (_, index) => simulatedDevice(`gpu-${index}`, 24));
      const ids = devices.map(({ id }) => id);
      const limits = {
        ...LIMITS,
        maxTurn: random.int(5, 40) * 1_000,
        minResidency: random.int(0, 40) * 1_000,
        drainTimeout: random.int(5, 60) * 1_000,
      };
      const work = random.int(200, 20_000);
      const loadMs = random.int(1_000, 20_000);
      const models = Array.from({ length: random.int(2, 6) }, (_, index) =>
        simulatedModel(
          `m${index}`,
          {
            memory: random.pick([5, 9, 12, 21]) * GIB,
            deviceIds: index === 0 || random.chance(0.7) ? ids : ids.slice(0, 1),
            deviceCount: index === 0 && ids.length > 1 ? 2 : 1,
            queueTimeout: 3_600_000,
            inactivityTimeout: random.pick([0, 3_000, 60_000]),
          },
          { loadMs },
        ),
      );
      const story = new Story({ seed, limits, devices, models });
      for (const { settings } of models) {
        const think = random.int(0, 6_000);
        const clients = random.int(1, 6);
        story.act({
          kind: 'closed_loop',
          model: settings.name,
          clients,
          workMs: work,
          thinkMs: think,
          lastsMs: 900_000,
        });
      }
      story.run(900_000);
      const leaving = Math.min(work, limits.drainTimeout) + 2_000 + STOP;
      const perModel = loadMs * 1.2 + Math.max(limits.maxTurn, limits.minResidency) + leaving;
      // Its own replica may still be on its way out.
      const bound = (models.length - 1) * perModel + leaving;
      for (const { model, untilLaunch } of waitsFor(story)) {
        expect(untilLaunch, `seed ${seed}, ${model}`).toBeLessThanOrEqual(bound);
      }
      for (const { model, arrivedAt } of story.state.tickets.values()) {
        expect(story.now - arrivedAt, `seed ${seed}, ${model}`).toBeLessThanOrEqual(bound + loadMs * 1.2);
      }
    }
  });

  it('fences nobody before its turn is over, and nobody at all with max_turn 0', () => {
    for (const maxTurn of [0, 60_000]) {
      const story = new Story({
        models: ['a', 'b'].map((name) => simulatedModel(name)),
        limits: { ...LIMITS, maxTurn },
      });
      story.act({ kind: 'closed_loop', model: 'a', clients: 20, workMs: 1_000, thinkMs: 0, lastsMs: 400_000 });
      story.untilReady('a');
      const ready = story.now;
      story.ask('b');
      story.run(TURN - 2_000);
      expect(story.phase('a')).toBe('ready');
      if (maxTurn === 0) continue;
      story.until('a fenced', () => story.decisions('replica.fenced').length > 0, 10_000);
      expect(story.now - ready).toBeGreaterThanOrEqual(TURN);
      story.untilReady('b');
    }
  });

  it('[items 61, 62, 78] gives a fenced replica no new lease, lets its leases run to their end, and never takes it back', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.ask('a', 1, { workMs: 200_000 });
    story.untilReady('a');
    const fenced = story.current('a')?.id ?? '';
    story.ask('b');
    story.until('a fenced', () => story.decisions('replica.fenced').length > 0);
    story.ask('a', 3);
    expect(story.state.replicas.get(fenced)?.phase).toBe('draining');
    expect(story.state.replicas.get(fenced)?.leases.size).toBe(1);
    expect(story.phase('b')).toBe('reserved');
    story.untilAnswered(5);
    expect(story.tally()).toEqual({ completed: 5 });
    expect(story.starts('a')).toBe(2);
    expect(story.effects('replica.stop').filter((stop) => stop.replica.id === fenced)).toHaveLength(1);
    expect(story.state.replicas.has(fenced)).toBe(false);
  });

  it('[items 63, 75] cuts what outlives drain_timeout with the framed error, and only that', () => {
    const story = new Story({
      models: ['a', 'b'].map((name) => simulatedModel(name)),
      limits: { ...LIMITS, drainTimeout: 30_000 },
    });
    story.ask('a', 1, { workMs: 3_000_000 });
    story.ask('a', 1, { workMs: 15_000 });
    story.untilReady('a');
    story.ask('b');
    story.until('a fenced', () => story.decisions('replica.fenced').length > 0);
    const fenced = story.now;
    story.until('the cut', () => story.effects('lease.cut').length > 0);
    expect(story.now - fenced).toBe(30_000);
    story.untilAnswered(3);
    expect(story.tally('a')).toEqual({ completed: 1, drain_timeout: 1 });
    expect(story.tally('b')).toEqual({ completed: 1 });
  });

  it('fences the replica with the least to wait for among those that have had their turn', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const deviceIds = ['gpu-0', 'gpu-1'];
    const story = new Story({ devices, models: ['a', 'b', 'c'].map((name) => simulatedModel(name, { deviceIds })) });
    story.ask('a', 9, { workMs: 250_000 });
    story.ask('b', 2, { workMs: 250_000 });
    story.untilReady('a');
    story.untilReady('b');
    story.run(TURN);
    story.ask('c');
    story.until('one fenced', () => story.decisions('replica.fenced').length > 0);
    expect(story.decisions('replica.fenced').map((decision) => decision.model)).toEqual(['b']);
  });
});
