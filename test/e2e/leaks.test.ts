/** Nothing is left behind: counters, sockets, timers and descriptors after a thousand requests of which many are aborted. */
import { readdirSync, readlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Clients, endOf, tally, type Asking } from '../support/clients.ts';
import { engineStats, metric, startFleet, statusOf, until, untilAtRest } from '../support/simulated-fleet.ts';

/** What this process holds, gateway and clients together, and the workers of the gateway. */
interface Held {
  /** Idle connections to engines left out. */
  readonly sockets: number;
  readonly otherDescriptors: number;
  /** Of the gateway's clock, those that would not keep the process alive included; those of idle connections left out. */
  readonly timers: number;
  /** Whatever else keeps the process alive, as Node counts it: servers, pipes, children, watchers. */
  readonly handles: number;
}

/** Reading the figures takes these, and they are counted above. */
const OF_THE_LOOK_ITSELF = new Set(['Timeout', 'Immediate', 'TCPSocketWrap', 'FSReqCallback', 'FSReqPromise']);

function held(armedTimers: number, idleConnections = 0, workers: readonly number[] = []): Held {
  const paths = ['self', ...workers].flatMap((process) => {
    const folder = `/proc/${process}/fd`;
    return readdirSync(folder).map((name) => `${folder}/${name}`);
  });
  const targets = paths.flatMap((path) => {
    try {
      return [readlinkSync(path)];
    } catch {
      // The descriptor of this very reading.
      return [];
    }
  });
  const sockets = targets.filter((target) => target.startsWith('socket:')).length;
  return {
    sockets: sockets - idleConnections,
    otherDescriptors: targets.length - sockets,
    // One for each of them, where they are in this process.
    timers: armedTimers - (workers.length === 0 ? idleConnections : 0),
    handles: process.getActiveResourcesInfo().filter((kind) => !OF_THE_LOOK_ITSELF.has(kind)).length,
  };
}

/** Health and metrics of each engine may be asked at any moment, and their connections stay for seconds. */
const CONTROL_CONNECTIONS = 2;

async function untilBackTo(baseline: Held, engines: number, look: () => Promise<Held>): Promise<void> {
  await until(async () => {
    const now = await look();
    expect(now.sockets).toBeLessThanOrEqual(baseline.sockets + engines * CONTROL_CONNECTIONS);
    expect(now.otherDescriptors).toBeLessThanOrEqual(baseline.otherDescriptors);
    expect(now.timers).toBeLessThanOrEqual(baseline.timers);
    expect(now.handles).toBeLessThanOrEqual(baseline.handles);
  });
}

/** The same sequence for the same seed: a failing run can be run again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

type Phase = 'before the head' | 'while waiting' | 'in the stream';

/** One request that is given up in this phase. Resolves when its client is gone. */
async function giveUp(clients: Clients, model: string, phase: Phase, random: () => number): Promise<string> {
  const leave = new AbortController();
  const asking: Asking = { signal: leave.signal, stream: phase === 'in the stream' || random() < 0.5 };
  try {
    if (phase === 'in the stream') {
      const { status, body } = await clients.open(model, { ...asking, fake: { tokens: 10_000, token_ms: 3 } });
      if (status !== 200) {
        await body.dump();
        return String(status);
      }
      let pieces = Math.floor(random() * 4);
      for await (const _ of body) {
        if (pieces === 0) leave.abort();
        pieces -= 1;
      }
    } else {
      const asked = clients.chat(model, { ...asking, fake: phase === 'before the head' ? { fault: 'hang' } : {} });
      // Anything from: not yet connected, to: the engine works on it.
      setTimeout(() => leave.abort(), phase === 'while waiting' ? random() * 30 : 5 + random() * 60);
      return endOf(await asked);
    }
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  }
  return 'left';
}

describe('a thousand requests, three of ten aborted at random', () => {
  it('leave every gauge at zero, and sockets, timers and descriptors where they were [S7] [S16] [items 30, 35]', async () => {
    const random = randomFrom(20_250_101);
    const models = ['one', 'two'];
    const fleet = models.map((name) => ({ name, keys: ['max_concurrent: 20', 'max_queue_size: 400'] }));
    await using gateway = await startFleet(fleet);

    const round = async (count: number, share: number): Promise<Record<string, number>> => {
      await using clients = new Clients(gateway.url);
      const phases: readonly Phase[] = ['before the head', 'while waiting', 'in the stream'];
      const asked = Array.from({ length: count }, async (_, index) => {
        const model = models[index % models.length] ?? '';
        if (random() >= share) return endOf(await clients.chat(model, { stream: random() < 0.5 }));
        return giveUp(clients, model, phases[index % phases.length] ?? 'while waiting', random);
      });
      return tally(await Promise.all(asked));
    };

    // Warm: engines started, connections open, code loaded, the clients of the test itself included.
    await round(100, 0.3);
    await round(40, 0);
    await untilAtRest(gateway);
    const before = await metric(gateway, 'requests_total');
    const look = async (): Promise<Held> => {
      const workers = (await statusOf(gateway)).gateway.workers?.running.map(({ pid }) => pid);
      return held(gateway.armedTimers(), await metric(gateway, 'upstream_connections', { state: 'idle' }), workers);
    };
    const baseline = await look();

    const ends: Record<string, number> = {};
    for (let part = 0; part < 4; part += 1) {
      for (const [end, count] of Object.entries(await round(250, 0.3))) ends[end] = (ends[end] ?? 0) + count;
    }
    expect(Object.values(ends).reduce((sum, count) => sum + count, 0)).toBe(1_000);
    expect(Object.keys(ends).toSorted()).toEqual(['200', 'left']);
    expect(ends['left']).toBeGreaterThan(200);
    await untilAtRest(gateway);
    for (const name of models) {
      await until(async () => expect(await engineStats(gateway, name)).toMatchObject({ running: 0, waiting: 0 }));
    }
    // Who left before the connection was made was never a request.
    const counted = (await metric(gateway, 'requests_total')) - before;
    const closed = await metric(gateway, 'requests_total', { outcome: 'client_closed' });
    const completed = await metric(gateway, 'requests_total', { outcome: 'completed' });
    expect(counted).toBeLessThanOrEqual(1_000);
    expect(closed + completed).toBe(before + counted);
    await untilBackTo(baseline, models.length, look);
  });

  it('leave nothing when the engine is still cold, and the engine starts once [S7] [S8] [item 35]', async () => {
    const random = randomFrom(42);
    await using gateway = await startFleet([
      { name: 'cold', knobs: { START_MS: 700 }, keys: ['max_queue_size: 1000'] },
    ]);
    {
      await using clients = new Clients(gateway.url);
      const asked = Array.from({ length: 300 }, async () => {
        if (random() >= 0.3) return endOf(await clients.chat('cold', { stream: random() < 0.5 }));
        const leave = new AbortController();
        setTimeout(() => leave.abort(), random() * 900);
        return clients.chat('cold', { signal: leave.signal }).then(endOf, () => 'left');
      });
      expect(Object.keys(tally(await Promise.all(asked))).toSorted()).toEqual(['200', 'left']);
    }
    await untilAtRest(gateway);
    expect(await metric(gateway, 'starts_total')).toBe(1);
    expect(await engineStats(gateway, 'cold')).toMatchObject({ running: 0, waiting: 0 });
  });
});

/** The lag of the event loop is sampled until telemetry ends, after the gateway. */
const TIMERS_OF_TELEMETRY = 1;

describe('a gateway that is closed', () => {
  it('leaves no socket, no timer and no descriptor in its process [S7]', async () => {
    const live = async (): Promise<void> => {
      await using gateway = await startFleet([{ name: 'one' }]);
      await using clients = new Clients(gateway.url);
      const leave = new AbortController();
      const cut = clients
        .chat('one', { stream: true, fake: { fault: 'hang' }, signal: leave.signal })
        .catch(() => 'cut');
      expect((await clients.chat('one')).status).toBe(200);
      await gateway.gateway.close();
      expect(await cut).toBe('cut');
      expect(gateway.armedTimers()).toBeLessThanOrEqual(TIMERS_OF_TELEMETRY);
    };
    await live();
    const baseline = held(0);
    for (let times = 0; times < 3; times += 1) await live();
    await untilBackTo(baseline, 0, async () => held(0));
  });
});
