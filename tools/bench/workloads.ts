/** What is measured. Each gives the CPU time of the process between load and engine, per unit of work. */
import { LoadClient, type Answered, type Asked } from './client.ts';
import { busySeconds, cpuSeconds, pss } from './machine.ts';
import type { Running } from './targets.ts';

export interface Measured {
  /** Microseconds of CPU per unit; or KiB per stream where memory is measured. */
  readonly cost: number;
  /** Units of work done: requests, events, streams. */
  readonly units: number;
  /** Share of what was asked for that was carried, where the load is paced. */
  readonly carried: number;
  /** Milliseconds; null where no delay is measured. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** CPU time of everybody else on the machine, in CPUs. */
  readonly foreign: number;
}

export interface Workload {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  run(target: Running, seconds: number): Promise<Measured>;
}

const CHAT = '/v1/chat/completions';
const MICRO = 1e6;
const KIB = 1024;
/** Requests before the measurement, so that everything is compiled. */
const WARM_UP = 400;

let serial = 0;
const nonce = (): string => `n${(++serial).toString(36)}x`;

function plainAsk(promptBytes: number): Asked {
  const word = nonce();
  const prompt = 'lorem ipsum dolor '.repeat(Math.ceil(promptBytes / 18)).slice(0, promptBytes);
  const text = `{"model":"bench","messages":[{"role":"user","content":"${prompt}"}],"temperature":0.7,"max_tokens":16,"user":"nonce:${word}"}`;
  return { path: CHAT, body: Buffer.from(text), nonce: word, events: null };
}

function streamAsk(events: number, every: number): Asked {
  const word = nonce();
  const text = `{"model":"bench","messages":[{"role":"user","content":"hello"}],"stream":true,"max_tokens":${events},"every":${every},"user":"nonce:${word}"}`;
  return { path: CHAT, body: Buffer.from(text), nonce: word, events };
}

function clients(target: Running, count: number): LoadClient[] {
  return Array.from({ length: count }, () => new LoadClient(target.port, target.headers));
}

function check(answer: Answered): Answered {
  if (answer.fault !== null) throw new Error(`an answer was not as it had to be: ${answer.fault}`);
  return answer;
}

export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
}

/** Runs `work` between two looks at the clocks. `ours`: CPU of load and engine is not foreign. */
async function measured(
  target: Running,
  work: () => Promise<{ units: number; carried: number; delays: readonly number[] }>,
): Promise<Measured> {
  const pids = target.pids();
  const cpu = cpuSeconds(pids);
  const own = process.cpuUsage();
  const busy = busySeconds();
  const started = performance.now();
  const { units, carried, delays } = await work();
  const spent = cpuSeconds(pids) - cpu;
  const wall = (performance.now() - started) / 1_000;
  const load = process.cpuUsage(own);
  const engine = engineCpu();
  const others = busySeconds() - busy - spent - (load.user + load.system) / MICRO - engine;
  return {
    cost: (spent / Math.max(1, units)) * MICRO,
    units,
    carried,
    p50: quantile(delays, 0.5),
    p99: quantile(delays, 0.99),
    foreign: Math.max(0, others / wall),
  };
}

/** Set by the runner: CPU seconds of the engines since it was last asked. */
export const engines: { pids: () => readonly number[]; before: number } = { pids: () => [], before: 0 };

function engineCpu(): number {
  const now = cpuSeconds(engines.pids());
  const spent = now - engines.before;
  engines.before = now;
  return Math.max(0, spent);
}

/** Each client asks again as soon as it has its answer. */
async function closedLoop(
  all: readonly LoadClient[],
  make: () => Asked,
  until: (done: number) => boolean,
): Promise<{ done: number; delays: number[] }> {
  let done = 0;
  const delays: number[] = [];
  await Promise.all(
    all.map(async (client) => {
      while (!until(done)) {
        const at = performance.now();
        check(await client.ask(make()));
        delays.push(performance.now() - at);
        done++;
      }
    }),
  );
  return { done, delays };
}

function closing<T>(all: readonly LoadClient[], run: () => Promise<T>): Promise<T> {
  return run().finally(() => {
    for (const client of all) client.close();
  });
}

const requests = (id: string, title: string, concurrency: number, promptBytes: number): Workload => ({
  id,
  title,
  unit: 'µs per request',
  run: (target, seconds) => {
    const all = clients(target, concurrency);
    return closing(all, async () => {
      const make = (): Asked => plainAsk(promptBytes);
      const warm = Math.max(20, Math.min(WARM_UP, (WARM_UP * 4_096) / promptBytes));
      await closedLoop(all, make, (done) => done >= warm);
      return measured(target, async () => {
        const end = performance.now() + seconds * 1_000;
        const { done, delays } = await closedLoop(all, make, () => performance.now() >= end);
        return { units: done, carried: 1, delays };
      });
    });
  },
});

const fastStreams: Workload = {
  id: 'W2',
  title: 'streams as fast as they come, 64 at once',
  unit: 'µs per event',
  run: (target, seconds) => {
    const all = clients(target, 64);
    const events = 500;
    return closing(all, async () => {
      await closedLoop(
        all,
        () => streamAsk(50, 0),
        (done) => done >= 128,
      );
      return measured(target, async () => {
        const end = performance.now() + seconds * 1_000;
        const { done } = await closedLoop(
          all,
          () => streamAsk(events, 0),
          () => performance.now() >= end,
        );
        return { units: done * events, carried: 1, delays: [] };
      });
    });
  },
};

const paced = (id: string, streams: number): Workload => ({
  id,
  title: `streams of one event each 20 ms, ${streams} at once`,
  unit: 'µs per event',
  run: (target, seconds) => {
    const all = clients(target, streams);
    const every = 20;
    return closing(all, async () => {
      await closedLoop(
        all.slice(0, 64),
        () => streamAsk(50, 0),
        (done) => done >= 128,
      );
      const events = Math.round((seconds * 1_000) / every);
      return measured(target, async () => {
        const started = performance.now();
        const answers = await Promise.all(all.map((client) => client.ask(streamAsk(events, every))));
        const took = (performance.now() - started) / 1_000;
        for (const answer of answers) check(answer);
        return { units: streams * events, carried: Math.min(1, (seconds + 0.1) / took), delays: [] };
      });
    });
  },
});

const quiet = (id: string, streams: number): Workload => ({
  id,
  title: `${streams} streams that say nothing`,
  unit: 'KiB per stream',
  run: async (target) => {
    const before = pss(target.pids());
    const all = clients(target, streams);
    return closing(all, async () => {
      const begun = { count: 0 };
      // One event at once, the next after the measurement is over.
      const asked = all.map((client) => {
        const ask = streamAsk(2, 3_000);
        return new Promise<void>((resolve) => {
          void client.ask(ask, () => {
            begun.count++;
            resolve();
          });
        });
      });
      await Promise.all(asked);
      const each = (pss(target.pids()) - before) / streams / KIB;
      return { cost: each, units: streams, carried: begun.count / streams, p50: null, p99: null, foreign: 0 };
    });
  },
});

export const WORKLOADS: readonly Workload[] = [
  requests('W1', 'small JSON, 32 at once', 32, 400),
  requests('W1-1', 'small JSON, one at a time', 1, 400),
  fastStreams,
  paced('W3', 200),
  paced('W3-600', 600),
  requests('W4', 'prompts of 256 KB, 8 at once', 8, 262_144),
  requests('W4-4M', 'prompts of 4 MB, 4 at once', 4, 4_194_304),
  quiet('W5', 1_000),
  quiet('W5-5000', 5_000),
];
