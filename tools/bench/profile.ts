/**
 * Where the microseconds go: the gateway under V8's sampling profiler, of which the samples of the measured seconds are told by
 * the place in the program that they fall into.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGateway } from './gateway-target.ts';
import { pinning, pinToLoad, ROOT } from './launch.ts';
import { placeOf, type Place } from './record.ts';
import { warmUp, WORKLOADS } from './workloads.ts';

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
}

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: CallFrame;
    readonly children?: readonly number[];
  }[];
  /** Microseconds of the machine's monotonic clock. */
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export interface Part {
  readonly part: string;
  /** Microseconds per unit. */
  readonly cost: number;
  /** The costliest places in it. */
  readonly places: readonly { readonly place: string; readonly cost: number }[];
}

/** `docs/measurements/performance-profile.json`. */
export interface Profiled extends Place {
  readonly workloads: readonly {
    readonly id: string;
    readonly title: string;
    readonly unit: string;
    readonly cost: number;
    readonly parts: readonly Part[];
  }[];
}

const PROFILED = ['W1', 'W3'];
const INTERVAL_US = 250;
const IDLE = '(idle)';
/** Places told of each part, and the least that is told, microseconds per unit. */
const PLACES = 6;
const LEAST = 0.05;

/** Writes to a socket are called from JavaScript; reads and the waiting for them are made by libuv, outside of it. */
const NATIVE: ReadonlyMap<string, string> = new Map([
  ['(program)', 'system calls that Node makes outside of JavaScript: reading sockets, waiting for them; HTTP parsers'],
  ['(garbage collector)', 'garbage collection'],
  ['writeString', 'system calls: writing the log'],
]);
const WRITES = /^(write(v|Buffer|Latin1String|Utf8String|AsciiString)|shutdown)$/;

export function partOf({ functionName, url }: CallFrame): string {
  const native = url === '' ? NATIVE.get(functionName) : undefined;
  if (native !== undefined) return native;
  if (url === '' && WRITES.test(functionName)) return 'system calls: writing to sockets';
  const ours = /\/dist\/src\/([^/]+?)(?:\/|\.js)/.exec(url)?.[1];
  if (ours !== undefined) return `src/${ours}`;
  const dependency = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
  if (dependency !== undefined) return dependency;
  if (/^node:(_http|internal\/http)/.test(url)) return "Node's HTTP server";
  if (/^node:(net|internal\/stream)/.test(url) || url === 'node:internal/streams/writable')
    return "Node's sockets and streams";
  if (/^node:(events|internal\/(process\/task_queues|timers|async_hooks))/.test(url))
    return "Node's events, timers and ticks";
  return url.startsWith('node:') ? 'the rest of Node' : 'built-in functions of V8';
}

const placeOfFrame = ({ functionName, url }: CallFrame): string => {
  const file = url.replace(/^.*\/dist\/(src\/.*)\.js$/, '$1.ts').replace(/^.*\/node_modules\//, '');
  return [functionName || '(a function without a name)', file].filter(Boolean).join(' · ');
};

/** Shares of the time at work between two moments of the monotonic clock, in microseconds, by part. */
export function partsOf(profile: CpuProfile, from: number, to: number, cost: number): readonly Part[] {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const places = new Map<string, Map<string, number>>();
  let at = profile.startTime;
  let worked = 0;
  for (const [index, id] of profile.samples.entries()) {
    const took = profile.timeDeltas[index] ?? 0;
    at += took;
    const frame = frames.get(id);
    if (frame === undefined || at < from || at > to || frame.functionName === IDLE) continue;
    worked += took;
    const part = places.get(partOf(frame)) ?? new Map<string, number>();
    places.set(partOf(frame), part);
    part.set(placeOfFrame(frame), (part.get(placeOfFrame(frame)) ?? 0) + took);
  }
  const scaled = (time: number): number => Number(((time / Math.max(1, worked)) * cost).toFixed(3));
  return [...places]
    .map(([part, inside]) => ({
      part,
      cost: scaled([...inside.values()].reduce((sum, time) => sum + time, 0)),
      places: [...inside]
        .map(([place, time]) => ({ place, cost: scaled(time) }))
        .filter((one) => one.cost >= LEAST)
        .toSorted((one, other) => other.cost - one.cost)
        .slice(0, PLACES),
    }))
    .toSorted((one, other) => other.cost - one.cost);
}

const monotonic = (): number => Number(process.hrtime.bigint() / 1_000n);

async function one(id: string, seconds: number): Promise<Profiled['workloads'][number]> {
  const workload = WORKLOADS.find((it) => it.id === id);
  if (workload === undefined) throw new Error(`there is no ${id}`);
  const folder = mkdtempSync(join(tmpdir(), 'vgw-profile-'));
  try {
    const node = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${INTERVAL_US}`];
    const gateway = await startGateway({ name: 'profiled', root: ROOT }, { node });
    let span: { from: number; to: number; cost: number };
    try {
      await warmUp(gateway);
      const from = monotonic();
      const { cost } = await workload.run(gateway, seconds);
      span = { from, to: monotonic(), cost };
    } finally {
      await gateway.stop();
    }
    const [file] = readdirSync(folder);
    if (file === undefined) throw new Error('the gateway wrote no profile');
    const profile = JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile;
    const { title, unit } = workload;
    const cost = Number(span.cost.toFixed(2));
    return { id, title, unit, cost, parts: partsOf(profile, span.from, span.to, span.cost) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Options {
  readonly seconds?: string | undefined;
  readonly json?: string | undefined;
}

export async function profile(options: Options): Promise<void> {
  pinning.on = true;
  pinToLoad(process.pid);
  const workloads = [];
  for (const id of PROFILED) workloads.push(await one(id, Number(options.seconds ?? 8)));
  for (const { id, title, unit, cost, parts } of workloads) {
    console.log(`\n${id} ${title}: ${cost} ${unit}, the profiler's own cost included`);
    for (const part of parts) {
      console.log(`  ${part.cost.toFixed(2).padStart(8)}  ${part.part}`);
      for (const inside of part.places)
        console.log(`            ${inside.cost.toFixed(2).padStart(8)}  ${inside.place}`);
    }
  }
  const told: Profiled = { ...placeOf(ROOT), workloads };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(told, null, 1)}\n`);
}
