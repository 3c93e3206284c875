/** Engines that die while they serve: accepted work that no client has seen anything of is done by the next one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Clients, errorOf } from '../support/clients.ts';
import { enginesOf, noEngineLeft } from '../support/engine-processes.ts';
import { configureEngine } from '../support/engine-view.ts';
import { eventually, timed } from '../support/eventually.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { decisionsOn, errorsIn, goneWithoutTrace, openStream } from '../support/open-stream.ts';
import { engineStats, startFleet, statusOf, untilAtRest, type SimulatedModel } from '../support/simulated-fleet.ts';

/** Start and first answer of an engine, on a machine with other things to do. */
const LOAD_MS = 3_000;
const DEATHS = [
  { name: 'crash', fault: 'crash_after:0' },
  { name: 'exit-zero', fault: 'exit0_after:0' },
  { name: 'half-dead', fault: 'half_dead:0' },
];

const MODELS: readonly SimulatedModel[] = [
  ...[...DEATHS.map(({ name }) => name), 'lonely'].map((name) => ({ name, knobs: { PROCESSES: 2 } })),
  { name: 'gloomy-status' },
  { name: 'gloomy-frame' },
  { name: 'always', keys: ['always_on: true'] },
  { name: 'living' },
];

let gateway: TestGateway;
let clients: Clients;

beforeAll(async () => {
  gateway = await startFleet(MODELS);
  clients = new Clients(gateway.url);
});

afterAll(async () => {
  await clients[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await noEngineLeft(gateway.gateway.id);
});

describe('an engine that dies', () => {
  it.each(DEATHS)(
    'by $fault is replaced: open streams are told, what nobody has seen of is served once more [items 62, 71]',
    async ({ name: model, fault }) => {
      const stream = await openStream(clients, model);
      // Strikes in the next request of this very engine.
      await configureEngine(gateway, model, { fault });
      const struck = clients.chat(model);
      const { frames, broken } = await stream.end;
      const { value: next, ms } = await timed(() => clients.chat(model));
      expect([next.status, next.text]).toEqual([200, expect.stringContaining('chat.completion')]);
      expect(ms).toBeLessThan(LOAD_MS);
      expect(next.headers['x-vgw-replica']).not.toBe(stream.replica);

      const errors = errorsIn(frames);
      expect(errors).toHaveLength(1);
      if (model === 'exit-zero') {
        // Its own last words pass through: the error, and the end of a stream that it could still end.
        expect([errors[0]?.['message'], broken]).toEqual([
          expect.stringContaining('EngineCore encountered an issue'),
          false,
        ]);
      } else {
        expect([errors[0]?.['code'], broken]).toEqual(['upstream_lost', true]);
        expect(frames.some((frame) => frame.data === '[DONE]')).toBe(false);
      }
      const served = await struck;
      expect([served.status, served.text]).toEqual([200, expect.stringContaining('chat.completion')]);
      expect(served.headers['x-vgw-replica']).not.toBe(stream.replica);
      expect(Number(served.headers['x-vgw-attempts'])).toBeGreaterThan(1);
      expect(decisionsOn(gateway, stream.replica)).toContain('replica.crashed');
      await goneWithoutTrace(gateway, stream.replica);
      await untilAtRest(gateway);
    },
  );

  it('while nobody asks is noticed, and started again when somebody does [item 71]', async () => {
    const first = await clients.chat('lonely');
    const replica = first.headers['x-vgw-replica'] ?? '';
    await killLeader(replica);
    await goneWithoutTrace(gateway, replica);
    expect((await statusOf(gateway)).models['lonely']).toMatchObject({ state: 'cold', replicas: [] });
    expect((await clients.chat('lonely')).status).toBe(200);
  });
});

describe('a model that is always on', () => {
  it('comes back by itself, and rests when its engine dies again and again [item 72]', async () => {
    const ready = (): Promise<string> =>
      eventually('it is ready', async () => {
        const { state, replicas } = (await statusOf(gateway)).models['always'] ?? {};
        return state === 'ready' && replicas?.[0];
      });
    const first = await ready();
    await killLeader(first);
    await goneWithoutTrace(gateway, first);
    const second = await ready();
    expect(second).not.toBe(first);
    await killLeader(second);
    await eventually('it rests', async () => (await statusOf(gateway)).models['always']?.state === 'failed');
    const refused = await clients.chat('always');
    expect(errorOf(refused)).toMatchObject({ code: 'model_backing_off', cause: 'crashed' });
    expect(await ready()).not.toBe(second);
    expect((await clients.chat('always')).status).toBe(200);
  });
});

async function killLeader(replica: string): Promise<void> {
  const leader = (await enginesOf(gateway.gateway.id)).find((one) => one.replica === replica && one.leads);
  if (!leader) throw new Error(`${replica} has no leader`);
  process.kill(leader.pid, 'SIGKILL');
}

describe('an engine that lives', () => {
  it.each([
    ['status', false, 'engine_dead_500'],
    ['frame', true, 'error_first_frame:500'],
  ])(
    'and talks of its end in a first %s is replaced; the next one is asked once, and its answer is relayed',
    async (where, stream, fault) => {
      const model = `gloomy-${where}`;
      const first = (await clients.chat(model)).headers['x-vgw-replica'] ?? '';
      const answer = await clients.chat(model, { stream, fake: { fault } });
      expect(answer.status).toBe(500);
      expect(errorOf(answer)['message']).toMatch(
        /cannot schedule new futures after shutdown|EngineCore encountered an issue/,
      );
      expect([answer.headers['x-vgw-attempts'], answer.headers['x-vgw-replica'] === first]).toEqual(['2', false]);
      expect(decisionsOn(gateway, first)).toContain('replica.crashed');
      await goneWithoutTrace(gateway, first);
    },
  );

  it('has its ordinary errors relayed and is not asked again [S4]', async () => {
    await clients.chat('living');
    const before = await engineStats(gateway, 'living');
    const answer = await clients.chat('living', { stream: true, fake: { fault: 'error_first_frame' } });
    expect(answer.status).toBe(503);
    const after = await engineStats(gateway, 'living');
    expect(after.inference_requests - before.inference_requests).toBe(1);
    expect(Object.keys((await statusOf(gateway)).replicas).filter((id) => id.startsWith('living-'))).toHaveLength(1);
  });
});
