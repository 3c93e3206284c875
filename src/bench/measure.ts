/**
 * `bench`: a gateway and a plain relay before the same simulated engine, in turns, within twenty seconds, on loopback.
 * What counts is the difference to the engine alone and to the relay, in the same run: the numbers of one machine say
 * little about another.
 */
import { SECOND, type Milliseconds } from '../units.ts';
import { load, quantile, type Sample, type Target } from './load.ts';
import type { BenchReport, TargetReport } from './report.ts';
import { openStage, type Stage, type StageOptions } from './stage.ts';

export interface MeasureOptions extends StageOptions {
  /** Told how far it is. */
  readonly note: (text: string) => void;
}

const NAMES = ['engine', 'relay', 'gateway'] as const;
type Name = (typeof NAMES)[number];
type Kind = 'single' | 'many' | 'streams';

const ROUNDS = 3;
const SPAN: Milliseconds = (4 * SECOND) / 10;
/** No further round begins later than this: a busy machine gets fewer. */
const LAST_ROUND: Milliseconds = 11 * SECOND;
const WARM_UP: Milliseconds = (3 * SECOND) / 10;
const AT_ONCE = 32;
const STREAMS = 32;
/** Starts, rounds and ends take less, unless the machine is very busy. */
const LIMIT: Milliseconds = 20 * SECOND;
const NANOSECONDS = 1e6;

const WORKLOADS: Readonly<Record<Kind, { readonly workers: number; readonly stream: boolean }>> = {
  single: { workers: 1, stream: false },
  many: { workers: AT_ONCE, stream: false },
  streams: { workers: STREAMS, stream: true },
};

interface Measured extends Sample {
  readonly name: Name;
  readonly kind: Kind;
  readonly round: number;
  readonly cpu: Milliseconds | null;
}

export async function measure(options: MeasureOptions): Promise<BenchReport> {
  const { platform, note } = options;
  const limit = new AbortController();
  using _limit = platform.clock.after(LIMIT, () => limit.abort(new Error('the measurement took too long')));
  const bounded = { ...options, signal: AbortSignal.any([options.signal, limit.signal]) };
  const began = platform.clock.monotonic();
  note('starting a gateway, a simulated engine and a relay');
  await using stage = await openStage(bounded);
  const samples = await rounds(bounded, stage, began);
  const seconds = (platform.clock.monotonic() - began) / SECOND;
  const report = (name: Name): TargetReport => reportOf(name, samples);
  return {
    concurrency: AT_ONCE,
    streams: STREAMS,
    faults: samples.reduce((total, { faults }) => total + faults, 0),
    seconds,
    engine: report('engine'),
    relay: report('relay'),
    gateway: report('gateway'),
  };
}

async function rounds(options: MeasureOptions, stage: Stage, began: Milliseconds): Promise<readonly Measured[]> {
  const { platform, signal, note } = options;
  for (const name of NAMES) await load(platform.clock, stage[name], { ...WORKLOADS.many, span: WARM_UP, signal });
  const samples: Measured[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    if (round > 0 && platform.clock.monotonic() - began > LAST_ROUND) break;
    note(`round ${round + 1} of ${ROUNDS}`);
    for (const kind of ['single', 'many', 'streams'] as const) {
      // In another order each time: who is first finds the machine cooler.
      for (let turn = 0; turn < NAMES.length; turn += 1) {
        const name = NAMES[(turn + round) % NAMES.length] ?? 'engine';
        samples.push(await sample(options, stage[name], { name, kind, round }));
      }
    }
  }
  return samples;
}

async function sample(
  { platform, signal }: MeasureOptions,
  target: Target & { readonly pid?: number },
  what: Pick<Measured, 'name' | 'kind' | 'round'>,
): Promise<Measured> {
  const before = await cpuOf(platform, target.pid);
  const found = await load(platform.clock, target, { ...WORKLOADS[what.kind], span: SPAN, signal });
  const after = await cpuOf(platform, target.pid);
  return { ...found, ...what, cpu: before === null || after === null ? null : after - before };
}

/** Time on a CPU so far, over all threads; null where it cannot be told. */
async function cpuOf({ files }: MeasureOptions['platform'], pid: number | undefined): Promise<Milliseconds | null> {
  if (pid === undefined) return null;
  const threads = await files.list(`/proc/${pid}/task`).catch((): readonly string[] => []);
  if (threads.length === 0) return null;
  const texts = await Promise.all(
    threads.map((thread) => files.readText(`/proc/${pid}/task/${thread}/schedstat`).catch(() => undefined)),
  );
  return texts.reduce((total, text) => total + Number(text?.split(' ')[0] ?? 0), 0) / NANOSECONDS;
}

function reportOf(name: Name, samples: readonly Measured[]): TargetReport {
  const of = (kind: Kind, whose: Name = name): readonly Measured[] =>
    samples.filter((one) => one.kind === kind && one.name === whose);
  const many = of('many');
  const streams = of('streams');
  const added = (share: number): Milliseconds | null =>
    name === 'engine'
      ? null
      : median(
          of('single').map((own) => {
            const bare = of('single', 'engine').find(({ round }) => round === own.round);
            return quantile(own.latencies, share) - quantile(bare?.latencies ?? [], share);
          }),
        );
  const cost = (found: readonly Measured[], count: 'requests' | 'events'): Milliseconds | null => {
    const [cpu, done] = [found.map((one) => one.cpu), found.reduce((total, one) => total + one[count], 0)];
    return cpu.includes(null) || done === 0 ? null : cpu.reduce<number>((total, one) => total + (one ?? 0), 0) / done;
  };
  const perThousand = cost(streams, 'events');
  return {
    requestsPerSecond: median(many.map(({ requests, took }) => (requests / took) * SECOND)),
    p50Ms: median(of('single').map(({ latencies }) => quantile(latencies, 0.5))),
    p99Ms: median(of('single').map(({ latencies }) => quantile(latencies, 0.99))),
    addedP50Ms: added(0.5),
    addedP99Ms: added(0.99),
    cpuMsPerRequest: cost(many, 'requests'),
    streamEventsPerSecond: median(streams.map(({ events, took }) => (events / took) * SECOND)),
    cpuMsPerThousandEvents: perThousand === null ? null : perThousand * SECOND,
  };
}

const median = (values: readonly number[]): number => quantile(values, 0.5);
