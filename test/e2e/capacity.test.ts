/** More models than memory: nothing is promised twice, everybody is answered, and whoever leaves leaves for a reason. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { Clients, errorOf, tally } from '../support/clients.ts';
import { decisionsOf } from '../support/decisions.ts';
import { enginesOf, noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { openStream } from '../support/open-stream.ts';
import { pretendedGpus, type PretendedGpus } from '../support/pretended-gpus.ts';
import { startFleet, statusOf, untilAtRest, untilWaiting, type SimulatedModel } from '../support/simulated-fleet.ts';

const DEMO = fileURLToPath(new URL('../../examples/demo.yaml', import.meta.url));
/** Of which two fit on a device of 20 GiB, and one on a device of 10. */
const HALF = 'memory: 9GiB';

const gatewayIds = new Set<string>();

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
});

async function start(gpus: PretendedGpus, models: readonly SimulatedModel[], limits = ''): Promise<TestGateway> {
  const withMemory = models.map(({ name, knobs, keys = [] }) => ({
    name,
    knobs: { ...gpus.knobs, ...knobs },
    keys: [HALF, ...keys],
  }));
  const gateway = await startFleet(withMemory, `${gpus.yaml}\n${limits}`);
  gatewayIds.add(gateway.gateway.id);
  return gateway;
}

/** Once it has measured, it is no longer in the way of the next one. */
const MEASURES: ReadonlySet<string | null> = new Set([
  null,
  'launched',
  'config',
  'engine',
  'load',
  'compile',
  'profile',
]);

/** Looks at promises, real claims and starts until `work` is over; fails on the first byte, or measuring start, too many. */
async function withoutOvercommit<Value>(
  gateway: TestGateway,
  gpus: PretendedGpus,
  work: Promise<Value>,
): Promise<Value> {
  const done = work.then(
    () => true,
    () => true,
  );
  let looks = 0;
  do {
    const claimed = gpus.claimed();
    const { devices, replicas } = await statusOf(gateway);
    const measuring = Object.values(replicas).filter(({ state, phase }) => state === 'starting' && MEASURES.has(phase));
    for (const [index, [id, device]] of Object.entries(devices).entries()) {
      expect([id, measuring.filter((replica) => replica.devices.includes(id)).length <= 1]).toEqual([id, true]);
      expect([id, device.reserved_mib <= device.budget_mib]).toEqual([id, true]);
      expect([id, (claimed[index] ?? 0) <= device.total_mib]).toEqual([id, true]);
    }
    looks += 1;
  } while (!(await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 10, false))])));
  expect(looks).toBeGreaterThan(1);
  return work;
}

describe('ten cold models on devices that fit four', () => {
  it('are all served, without over-commit, one start measures on a device at a time, and the devices start side by side [item 83]', async () => {
    using gpus = pretendedGpus('ten', 2, 20);
    const names = Array.from({ length: 10 }, (_, index) => `model-${index}`);
    await using gateway = await start(
      gpus,
      names.map((name) => ({ name, knobs: { START_MS: 250 } })),
      'limits: { max_turn: 2s, min_residency: 1s }',
    );
    await using clients = new Clients(gateway.url);
    const asked = Promise.all(names.flatMap((name) => [clients.chat(name), clients.chat(name)]));
    const answers = await withoutOvercommit(gateway, gpus, asked);
    expect(answers.filter(({ status }) => status !== 200).map((answer) => errorOf(answer))).toEqual([]);
    expect(tally(answers.map(({ status }) => status))).toEqual({ 200: 20 });

    const decisions = decisionsOf(gateway);
    const starts = decisions
      .filter(({ event }) => event === 'replica.starting')
      .map(({ at, replica }) => {
        const ended = (event: unknown): boolean => event === 'replica.ready' || event === 'replica.disturbed';
        const end = decisions.find((other) => ended(other.event) && other.replica === replica);
        return { from: at, to: end?.at ?? Infinity };
      });
    // Where many processes want the processor, word of an engine comes late, and a start may be begun anew.
    const anew = decisions.filter(({ event }) => event === 'replica.disturbed');
    expect(starts).toHaveLength(10 + anew.length);
    const atOnce = starts.map(({ from }) => starts.filter((other) => other.from <= from && from < other.to).length);
    expect(Math.max(...atOnce)).toBeGreaterThanOrEqual(2);
    await untilAtRest(gateway);
  });

  it('the third of the demo takes the place of the one that was used least recently', async () => {
    await using gateway = await startTestGateway({
      yaml: await readFile(DEMO, 'utf8'),
      env: { FAKE_VLLM_START_MS: '200' },
    });
    gatewayIds.add(gateway.gateway.id);
    await using clients = new Clients(gateway.url);
    for (const model of ['qwen-7b', 'llama-8b', 'qwen-7b', 'mistral-7b']) {
      expect([model, (await clients.chat(model)).status]).toEqual([model, 200]);
    }
    const { models } = await statusOf(gateway);
    expect([models['qwen-7b']?.state, models['llama-8b']?.state, models['mistral-7b']?.state]).toEqual([
      'ready',
      'cold',
      'ready',
    ]);
    const evicted = decisionsOf(gateway).filter(({ event }) => event === 'replica.evicted');
    expect(evicted.map(({ model, msg }) => [model, msg])).toEqual([
      ['llama-8b', expect.stringContaining("'mistral-7b' needs its memory")],
    ]);
    await expect(clients.chat('llama-8b')).resolves.toMatchObject({ status: 200 });
  });

  it('one that can never fit is refused at once, with the bytes that are missing', async () => {
    using gpus = pretendedGpus('never', 1, 10);
    await using gateway = await start(gpus, [{ name: 'pinned', keys: ['always_on: true'] }, { name: 'other' }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('pinned')).status).toBe(200);
    const answer = await clients.chat('other');
    expect([answer.status, errorOf(answer)['code']]).toEqual([503, 'no_capacity']);
    expect(errorOf(answer)['message']).toMatch(/8.?GiB.*pinned|pinned.*8.?GiB/);
    expect(answer.tookMs).toBeLessThan(1_000);
  });
});

describe('a replica that leaves', () => {
  it('because nobody asks does so after inactivity_timeout; a request during its stop waits and is served [items 62, 63]', async () => {
    using gpus = pretendedGpus('idle', 1, 10);
    // Only SIGKILL ends it, a third of the time after SIGTERM.
    const model = {
      name: 'idle',
      knobs: { FAULT: 'sigterm_ignored' },
      keys: ['inactivity_timeout: 1s', 'stop_timeout: 3s'],
    };
    await using gateway = await start(gpus, [model]);
    await using clients = new Clients(gateway.url);
    const first = (await clients.chat('idle')).headers['x-vgw-replica'] ?? '';
    await eventually(
      'it is being stopped',
      async () => (await statusOf(gateway)).replicas[first]?.state === 'stopping',
    );
    const during = await withoutOvercommit(gateway, gpus, Promise.all([clients.chat('idle'), clients.chat('idle')]));
    expect(during.map(({ status }) => status)).toEqual([200, 200]);
    expect(during.map(({ headers }) => headers['x-vgw-replica'])).not.toContain(first);
    expect(new Set(during.map(({ headers }) => headers['x-vgw-replica'])).size).toBe(1);
    expect(await enginesOf(gateway.gateway.id)).toHaveLength(1);
    expect(decisionsOf(gateway).filter(({ event }) => event === 'replica.starting')).toHaveLength(2);
  });

  it('for another one gets nothing more, but finishes what it has [item 78]', async () => {
    using gpus = pretendedGpus('turn', 1, 10);
    await using gateway = await start(
      gpus,
      [{ name: 'one' }, { name: 'two' }],
      'limits: { max_turn: 500ms, min_residency: 500ms }',
    );
    await using clients = new Clients(gateway.url);
    const stream = await openStream(clients, 'one', { tokens: 150, token_ms: 20 });
    const newcomer = clients.chat('two');
    await eventually('it is fenced', () => decisionsOf(gateway).some(({ event }) => event === 'replica.fenced'));
    const late = clients.chat('one');
    await untilWaiting(gateway, 'one', 1);
    const { frames, broken } = await withoutOvercommit(gateway, gpus, stream.end);
    expect([broken, frames.at(-1)?.data]).toEqual([false, '[DONE]']);
    expect((await newcomer).status).toBe(200);
    const again = await late;
    expect(again.status).toBe(200);
    expect(again.headers['x-vgw-replica']).not.toBe(stream.replica);
  });

  it('half started goes when its only client has left and another model needs the memory [F24] [item 81]', async () => {
    using gpus = pretendedGpus('left', 1, 10);
    await using gateway = await start(gpus, [{ name: 'unwanted', knobs: { START_MS: 30_000 } }, { name: 'wanted' }]);
    await using clients = new Clients(gateway.url);
    const leaving = new AbortController();
    const left = clients.chat('unwanted', { signal: leaving.signal }).catch((error: unknown) => error);
    await eventually('its engine runs', async () => (await enginesOf(gateway.gateway.id)).length === 1);
    leaving.abort();
    expect(await left).toBeInstanceOf(Error);
    await untilWaiting(gateway, 'unwanted', 0);
    const answer = await withoutOvercommit(gateway, gpus, clients.chat('wanted'));
    expect(answer.status).toBe(200);
    expect(decisionsOf(gateway).map(({ event }) => event)).toContain('replica.abandoned');
  });
});

it('a start that hangs on one device keeps nobody from the other, and is waited for in plain sight [item 84]', async () => {
  using gpus = pretendedGpus('hung', 2, 20);
  const on = (id: string): readonly string[] => [`devices: [${id}]`];
  await using gateway = await start(gpus, [
    {
      name: 'hung',
      knobs: { FAULT: 'hang_at:load', START_MS: 100 },
      keys: [...on('gpu-0'), 'start_stall_timeout: 3s'],
    },
    { name: 'neighbour', keys: on('gpu-0') },
    { name: 'elsewhere', keys: on('gpu-1') },
  ]);
  await using clients = new Clients(gateway.url);
  const hung = clients.chat('hung');
  await eventually('it hangs', async () => (await statusOf(gateway)).models['hung']?.state === 'starting');
  const neighbour = clients.chat('neighbour');
  await untilWaiting(gateway, 'neighbour', 1);
  expect((await statusOf(gateway)).models['neighbour']?.waiting_for).toMatch(/start of a neighbour/);
  const elsewhere = await clients.chat('elsewhere');
  expect(elsewhere.status).toBe(200);
  expect((await statusOf(gateway)).models['hung']?.state).toBe('starting');
  expect(errorOf(await hung)).toMatchObject({ code: 'model_start_failed', cause: 'start_timeout' });
  expect((await neighbour).status).toBe(200);
});
