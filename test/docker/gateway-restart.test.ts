/** Whole gateways before a private daemon, one after the other: engines outlive them, other people's containers are left alone. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Clients, endOf, errorOf, tally, type ClientAnswer } from '../support/clients.ts';
import { callDocker } from '../support/docker-call.ts';
import { deafRegistry } from '../support/deaf-registry.ts';
import { dockerHere } from '../support/docker-daemon.ts';
import { startDockerFleet, type DockerFleet } from '../support/docker-fleet.ts';
import {
  ownContainers,
  post,
  readiness,
  removeContainers,
  seenContainers,
  startFleetGateway,
  statusOf,
  untilReady,
  type FleetModel,
  type GatewayRun,
  type SeenContainer,
} from '../support/docker-gateways.ts';
import { eventually, timed } from '../support/eventually.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { openStream } from '../support/open-stream.ts';

const GIB = [12, 24] as const;
const MIB = 4 * 1024;
const ANT: FleetModel = { name: 'ant', mib: MIB };
const BEE: FleetModel = { name: 'bee', mib: MIB };
/** Loads so long that a gateway is killed meanwhile. */
const CAT: FleetModel = { name: 'cat', mib: MIB, knobs: { START_MS: 1_500 } };
const ADOPTION_LIMIT_MS = 3_000;

/** From its first word to every container that it found being ready, in milliseconds. */
function adoptionTime(gateway: GatewayProcess): number {
  const times = (event: string | null): number[] =>
    gateway.log.filter((entry) => event === null || entry.event === event).map(({ time }) => Date.parse(time));
  return (times('replica.ready').at(-1) ?? Number.POSITIVE_INFINITY) - (times(null)[0] ?? 0);
}

describe.runIf(dockerHere())('a gateway before a Docker daemon', () => {
  let fleet: DockerFleet;
  let foreign: readonly SeenContainer[];
  const gateways: GatewayProcess[] = [];

  beforeAll(async () => {
    fleet = await startDockerFleet('restart', GIB, { liveRestore: true });
    await startForeigners();
    foreign = await foreigners();
  }, 120_000);
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
  }, 120_000);
  afterEach(async () => {
    const ids = gateways.map(({ gatewayId }) => gatewayId);
    for (const gateway of gateways.splice(0).toReversed()) await gateway[Symbol.asyncDispose]();
    for (const id of ids) if (id !== null) await removeContainers(socket(), await ownContainers(socket(), id));
    expect(await foreigners()).toEqual(foreign);
    await eventually('their memory is given back', () => {
      fleet.notice();
      return fleet.used().every((used) => used === 0);
    });
  });

  const socket = (): string => fleet.daemon.socket;
  const foreigners = async (): Promise<readonly SeenContainer[]> =>
    (await seenContainers(socket())).filter(({ labels }) => labels['whose'] === 'somebody');
  const startForeigners = async (): Promise<void> => {
    const other = { 'vllm-gateway.id': 'another-gateway', 'vllm-gateway.generation': '1', 'vllm-gateway.spec': 'h' };
    const replica = { ...other, 'vllm-gateway.role': 'replica', 'vllm-gateway.replica': 'ant-1' };
    const strangers: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
      // Named as the gateway would name its own.
      ...['ant-1_1', 'ant-1_2', 'bee-1_1', 'bee-2_1', 'ant'].map((name) => [`vllm_server_${name}`, {}] as const),
      ['vllm_server_ant-9_1', { ...replica, 'vllm-gateway.model': 'ant', 'vllm-gateway.reservations': '[]' }],
      ['vllm_server_fetch_other', { ...other, 'vllm-gateway.role': 'fetch' }],
      ['somebody', {}],
    ];
    for (const [name, labels] of strangers) {
      const body = {
        ...{ Image: fleet.image, Entrypoint: ['sleep', '3600'], Labels: { ...labels, whose: 'somebody' } },
        HostConfig: { NetworkMode: 'none' },
      };
      const { text } = await callDocker(socket(), 'POST', `/containers/create?name=${name}`, JSON.stringify(body));
      await callDocker(socket(), 'POST', `/containers/${(JSON.parse(text) as { Id: string }).Id}/start`);
    }
  };

  const start = async (run: GatewayRun): Promise<GatewayProcess> => {
    const gateway = await startFleetGateway(fleet, run);
    gateways.push(gateway);
    return gateway;
  };
  const own = (gateway: GatewayProcess): Promise<readonly SeenContainer[]> =>
    ownContainers(socket(), gateway.gatewayId);
  /** What the clients want, with all of it ready. */
  const serving = async (models: readonly FleetModel[], more: Partial<GatewayRun> = {}): Promise<GatewayProcess> => {
    const gateway = await start({ models, ...more });
    await using clients = new Clients(gateway.url);
    const answers = await Promise.all(models.map(({ name }) => clients.chat(name)));
    expect(answers.map(({ text, status }) => (status === 200 ? 200 : text))).toEqual(models.map(() => 200));
    return gateway;
  };
  /** The next one on the same folder; fails when it does not know what it has in time. */
  const successor = async (
    before: GatewayProcess,
    run: GatewayRun,
    ready: readonly string[],
  ): Promise<GatewayProcess> => {
    const gateway = await start({ ...run, folder: before.folder });
    await untilReady(gateway, ready);
    expect(adoptionTime(gateway)).toBeLessThan(ADOPTION_LIMIT_MS);
    return gateway;
  };
  const starts = (gateway: GatewayProcess): readonly string[] =>
    gateway.decisions('replica.starting').map(({ model }) => model ?? '');

  it('that is asked to end lets requests end whole; the next one has every engine and starts none [items 73, 74]', async () => {
    const first = await serving([ANT, BEE], { server: '  shutdown_timeout: 10s' });
    const before = await own(first);
    expect(before.map(({ running }) => running)).toEqual([true, true]);
    await using clients = new Clients(first.url);
    const streams = await Promise.all(
      ['ant', 'bee', 'bee'].map((model) => openStream(clients, model, { tokens: 40, token_ms: 25 })),
    );
    const plain = clients.chats(4, 'ant', (index) => ({ nonce: `n${index}`, fake: { tokens: 20, token_ms: 25 } }));
    await eventually('all are with their engines', async () => {
      const { models } = await statusOf(first);
      return models['ant']?.in_flight === 5 && models['bee']?.in_flight === 2;
    });
    first.signal('SIGTERM');
    for (const { end } of streams) {
      const { frames, broken } = await end;
      expect(broken).toBe(false);
      expect(frames.at(-1)?.data).toBe('[DONE]');
    }
    for (const [index, answer] of (await plain).entries()) {
      expect(answer.status).toBe(200);
      expect(answer.text).toContain(`nonce:n${index} `);
    }
    expect(await first.exit).toEqual({ code: 0, signal: null });
    expect(await own(first)).toEqual(before);

    const second = await successor(first, { models: [ANT, BEE] }, ['ant', 'bee']);
    await using again = new Clients(second.url);
    expect((await Promise.all(['ant', 'bee'].map((model) => again.chat(model)))).map(endOf)).toEqual(['200', '200']);
    expect(starts(second)).toEqual([]);
    expect(await own(second)).toEqual(before);
  });

  it('that is killed five times under load loses connections and no engine; none is there twice', async () => {
    const models = [ANT, BEE, CAT];
    let gateway = await serving([ANT, BEE], {});
    const before = await own(gateway);
    const { folder } = gateway;
    await gateway.kill();
    const seen = new Map<string, string>();
    for (let turn = 0; turn < 5; turn += 1) {
      gateway = await successor(gateway, { models, folder }, ['ant', 'bee']);
      await using clients = new Clients(gateway.url);
      const ends: string[] = [];
      let over = false;
      const talk = async (model: string): Promise<void> => {
        while (!over) {
          ends.push(
            await clients.chat(model).then(endOf, () => {
              over = true;
              return 'cut';
            }),
          );
        }
      };
      const talking = ['ant', 'bee', 'ant', 'bee'].map(talk);
      // In every second turn one is killed in the middle of a start, in the others it has been adopted in the middle of it.
      if (turn % 2 === 0) await post(gateway, 'models/cat/load');
      else await untilReady(gateway, ['cat']);
      await eventually('its container runs', async () =>
        (await own(gateway)).some(({ labels, running }) => labels['vllm-gateway.model'] === 'cat' && running),
      );
      await eventually('there is load', () => ends.length >= 20);
      if (turn % 2 === 1) await post(gateway, 'models/cat/unload?wait=true');
      await gateway.kill();
      await Promise.all(talking);
      expect(Object.keys(tally(ends)).toSorted()).toEqual(['200', 'cut']);
      expect(starts(gateway)).toEqual(turn % 2 === 0 ? ['cat'] : []);
      for (const { id, labels } of await own(gateway)) seen.set(id, labels['vllm-gateway.model'] ?? 'none');
    }
    gateway = await successor(gateway, { models, folder }, ['ant', 'bee']);
    await untilReady(gateway, ['cat']);
    const left = await own(gateway);
    expect(left.filter(({ labels }) => labels['vllm-gateway.model'] !== 'cat')).toEqual(before);
    expect(new Set(left.map(({ labels }) => labels['vllm-gateway.model']))).toEqual(new Set(['ant', 'bee', 'cat']));
    expect(left.length).toBe(3);
    // Three starts were wanted, and no more were made.
    expect(tally(seen.values())).toEqual({ ant: 1, bee: 1, cat: 3 });
    expect(Object.keys((await statusOf(gateway)).replicas)).toHaveLength(3);
  });

  it('whose configuration has changed replaces what changed, and takes all with it when told to', async () => {
    const first = await serving([ANT, BEE]);
    const before = await own(first);
    const model = ({ labels }: SeenContainer): string => labels['vllm-gateway.model'] ?? '';
    await first.kill();
    const changed = { ...BEE, keys: { max_num_seqs: 8 } };
    const run = { models: [ANT, changed], server: '  on_shutdown: stop\n  shutdown_timeout: 5s' };
    const second = await successor(first, run, ['ant']);
    await using clients = new Clients(second.url);
    expect((await clients.chat('bee')).status).toBe(200);
    expect(second.decisions('replica.not_adopted').map(({ msg }) => msg)).toEqual([
      expect.stringContaining('configuration has changed'),
    ]);
    const after = await own(second);
    expect(after.map(model).toSorted()).toEqual(['ant', 'bee']);
    expect(after.find((one) => model(one) === 'ant')).toEqual(before.find((one) => model(one) === 'ant'));
    expect(before.map(({ id }) => id)).not.toContain(after.find((one) => model(one) === 'bee')?.id);
    second.signal('SIGTERM');
    expect(await second.exit).toEqual({ code: 0, signal: null });
    expect(await own(second)).toEqual([]);
  });

  it('keeps a start that is stuck in its download from delaying anybody, and ends when nobody wants it', async () => {
    await using deaf = await deafRegistry();
    const stuck: FleetModel = { name: 'stuck', mib: MIB, knobs: { FETCH_FAULT: 'hang' } };
    const pulling: FleetModel = { name: 'pulling', mib: MIB, keys: { image: deaf.image } };
    const gateway = await serving([ANT], { models: [ANT, BEE, stuck, pulling] });
    await using clients = new Clients(gateway.url);
    expect(await post(gateway, 'models/stuck/load')).toBe(202);
    const leaving = new AbortController();
    const waiting = clients.chat('pulling', { signal: leaving.signal }).catch((error: unknown) => error);
    const fetching = async (): Promise<number> =>
      (await own(gateway)).filter(({ labels }) => labels['vllm-gateway.role'] === 'fetch').length;
    const inDownload = async (): Promise<boolean> => (await fetching()) === 1 && deaf.connections() > 0;
    await eventually('both are in their downloads', inDownload);
    const started = await timed(() => clients.chat('bee'));
    expect(endOf(started.value)).toBe('200');
    const stopped = await timed(() => post(gateway, 'models/bee/unload?wait=true'));
    expect(stopped.value).toBe(200);
    expect(started.ms).toBeLessThan(5_000);
    expect(stopped.ms).toBeLessThan(5_000);
    expect(await inDownload()).toBe(true);

    await post(gateway, 'models/stuck/unload');
    leaving.abort();
    await waiting;
    await eventually('no helper is left', async () => (await fetching()) === 0);
    expect(await readiness(gateway)).toEqual({ status: 200, reasons: '' });
  });

  it('gives the place back when a start fails after an eviction, and one that always fails costs others nothing', async () => {
    const big: FleetModel = { name: 'big', mib: 20 * 1024 };
    const bad: FleetModel = { name: 'bad', mib: 18 * 1024, knobs: { FAULT: 'crash_at:engine' } };
    const gateway = await serving([big], { models: [big, bad] });
    await using clients = new Clients(gateway.url);
    const refused = await clients.chat('bad');
    expect(refused.status).toBe(503);
    expect(errorOf(refused)['code']).toBe('model_start_failed');
    expect(gateway.decisions('replica.evicted').map(({ model }) => model)).toEqual(['big']);
    await untilReady(gateway, ['big']);

    const others: ClientAnswer[] = [];
    const failures: ClientAnswer[] = [];
    const end = performance.now() + 40_000;
    const ask = async (model: string, answers: ClientAnswer[]): Promise<void> => {
      while (others.length < 150 && performance.now() < end) answers.push(await clients.chat(model));
    };
    await Promise.all([...Array.from({ length: 3 }, () => ask('big', others)), ask('bad', failures)]);
    expect(others.length).toBeGreaterThanOrEqual(150);
    const lost = others.filter(({ status }) => status !== 200);
    expect(lost.length / others.length, lost.map(endOf).join(', ')).toBeLessThan(0.01);
    expect(failures.every(({ status }) => status === 503)).toBe(true);
  });

  it('that finds no daemon says so until it is there, and serves on when it dies', async () => {
    await fleet.daemon.terminate();
    // By its address: a published port is served by the daemon itself, and is away with it.
    const gateway = await start({ models: [ANT], reach: 'network' });
    await using clients = new Clients(gateway.url);
    await eventually('it says what is missing', async () => (await readiness(gateway)).status === 503);
    expect((await readiness(gateway)).reasons).toContain('driver docker: Docker does not answer');
    expect((await statusOf(gateway)).gateway.state).toBe('not_ready');
    const refused = await clients.chat('ant');
    expect(refused.status).toBe(503);
    expect(errorOf(refused)['message']).toContain('Docker does not answer');
    await fleet.daemon.start();
    await eventually('it is ready', async () => (await readiness(gateway)).status === 200);
    await eventually('its back-off is over', async () => (await clients.chat('ant')).status === 200);

    const before = await own(gateway);
    const answers: ClientAnswer[] = [];
    let over = false;
    const talk = async (): Promise<void> => {
      while (!over) answers.push(await clients.chat('ant'));
    };
    const talking = [talk(), talk()];
    await fleet.daemon.kill();
    await eventually('the trouble is told', async () => (await readiness(gateway)).reasons.includes('driver docker'));
    expect((await readiness(gateway)).status).toBe(200);
    expect((await statusOf(gateway)).gateway.state).toBe('degraded');
    const during = answers.length;
    await eventually('there was load meanwhile', () => answers.length > during + 50);
    await fleet.daemon.start();
    await eventually('all is well', async () => (await statusOf(gateway)).gateway.state === 'ready');
    over = true;
    await Promise.all(talking);
    expect(tally(answers.map(endOf))).toEqual({ '200': answers.length });
    expect(await own(gateway)).toEqual(before);

    // The next one begins without a daemon: what it cannot list yet it must not start a second time.
    await gateway.kill();
    await fleet.daemon.terminate();
    const next = await start({ models: [ANT], folder: gateway.folder, reach: 'network' });
    await eventually('it says what is missing', async () => (await readiness(next)).status === 503);
    await using others = new Clients(next.url);
    await fleet.daemon.start();
    await eventually('it serves', async () => (await others.chat('ant')).status === 200);
    expect(await own(next)).toEqual(before);
    expect(starts(next)).toEqual([]);
  });
});
