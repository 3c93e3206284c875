import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

function atRest(story: Story): void {
  const { state } = story;
  const { received, refused, abandoned, released } = state.counters;
  expect(received).toBe(refused + abandoned + released);
  expect(state.tickets.size + state.leases.size).toBe(0);
  for (const model of state.models.values()) expect(model.queue.size).toBe(0);
  for (const replica of state.replicas.values()) expect(replica.leases.size).toBe(0);
  for (const key of state.deadlines.keys()) expect(key).not.toMatch(/^(patience|queue|turn|settle|drain):/);
}

describe('[S7] counts', () => {
  it('[items 30, 31, 35, 82] are back at nought after a thousand requests of which a third leaves in any phase', () => {
    for (const seed of [1, 2, 3]) {
      const random = new Random(seed, 'leavers');
      const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
      const models = devices.map(({ id }, index) =>
        simulatedModel(`m${index}`, { deviceIds: [id], maxConcurrent: 10, maxQueueSize: 60 }),
      );
      const story = new Story({ seed, devices, models });
      for (let request = 0; request < 1_000; request += 1) {
        story.world.kernel.after(random.int(0, 120_000), () =>
          story.ask(random.pick(['m0', 'm1']), 1, {
            key: random.pick(['a', 'b', 'c']),
            workMs: random.around(2_000),
            leavesAfter: random.chance(0.33) ? random.around(5_000) : null,
            connectFailures: random.chance(0.05) ? 2 : 0,
          }),
        );
      }
      story.act({ kind: 'start_fault', model: 'm0', fault: 'exits', cause: 'crashed', share: 0.5 });
      story.run(60_000);
      story.act({ kind: 'crash', model: 'm1' });
      story.untilAnswered(1_000);
      atRest(story);
      expect(story.tally()['left']).toBeGreaterThan(100);
    }
  });

  it('[items 28, 69] hold a slot until the last byte, so that no more run than there are slots', () => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 3 })] });
    story.ask('m', 10, { workMs: 60_000 });
    story.untilReady('m');
    for (let look = 0; look < 100; look += 1) {
      expect(story.state.leases.size).toBe(Math.min(3, 10 - story.answers.length));
      story.run(1_900);
    }
    story.untilAnswered(10);
    atRest(story);
  });

  it.each(['waiting', 'granted'] as const)('change once when a client leaves while its request is %s', (phase) => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 1 })] });
    story.ask('m', 1, { workMs: 20_000, leavesAfter: phase === 'granted' ? 40_000 : null });
    story.untilReady('m');
    story.ask('m', 1, { leavesAfter: phase === 'waiting' ? 1_000 : null });
    story.untilAnswered(2);
    story.run(60_000);
    atRest(story);
    expect(story.state.counters.abandoned).toBe(phase === 'waiting' ? 1 : 0);
  });

  it('change once when a lease is released, returned or abandoned twice', () => {
    const story = new Story({ models: [simulatedModel('m')] });
    const { kernel } = story.world;
    const [id = ''] = story.ask('m', 1, { workMs: 1_000 });
    story.untilAnswered(1);
    const before = { ...story.state.counters };
    kernel.step({ kind: 'lease.released', id, outcome: 'completed' });
    kernel.step({ kind: 'lease.returned', id });
    kernel.step({ kind: 'ticket.abandoned', id });
    expect(story.state.counters).toEqual(before);
    atRest(story);
  });

  it('[item 32] start nothing for a request whose client left before its turn came', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.ask('a', 1, { workMs: 50_000 });
    story.untilReady('a');
    story.ask('b', 3, { leavesAfter: 10_000 });
    story.run(300_000);
    expect(story.starts('b')).toBe(0);
    expect(story.effects('ticket.granted').filter((grant) => grant.model === 'b')).toEqual([]);
    atRest(story);
  });
});
