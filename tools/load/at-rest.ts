/** What a gateway holds when nothing is asked of it, exactly: the same after any load. */
import { eventually } from '../../test/support/eventually.ts';
import { sumOf, type GatewayUnderLoad, type Inside } from './gateway-under-load.ts';
import { pause } from './generator.ts';

/** Sockets to engines that nobody uses are closed within this. */
const REST_MS = 90_000;
const LOOKS = 20;
const BASELINE_LOOKS = 5;
const BETWEEN_LOOKS_MS = 500;
/**
 * Of data that V8 and Node make for themselves. Node keeps a list for every duration that a timer was ever armed for until
 * that duration is over, and up to a thousand parsers to use again.
 */
const PLAIN = new Set(
  (
    'Object Array Function AsyncFunction GeneratorFunction Promise Map Set WeakMap WeakSet WeakRef String Number Boolean Symbol Date RegExp ' +
    'Error TypeError RangeError ArrayBuffer Uint8Array Uint32Array Int32Array Float64Array BigUint64Array BigInt64Array Buffer FastBuffer ' +
    'FixedCircularBuffer FixedQueue Iterator WeakReference TimersList HTTPParser'
  ).split(' '),
);

export interface Held {
  readonly sockets: number;
  readonly otherDescriptors: number;
  readonly timers: number;
  readonly listeners: number;
  readonly resources: Readonly<Record<string, number>>;
  /** Living objects of classes that stand for something: sockets, signals, requests, our own. */
  readonly objects: Readonly<Record<string, number>>;
}

export interface Rested {
  readonly held: Held;
  readonly inside: Inside;
}

/** Nothing waits, runs or is held, as status and metrics say. */
export async function untilQuiet(gateway: GatewayUnderLoad): Promise<void> {
  await eventually(
    'nothing waits, runs or is held',
    async () => {
      const { models, replicas, limits } = await gateway.status();
      const samples = await gateway.metrics();
      const gauge = (name: string, labels: Readonly<Record<string, string>> = {}): number =>
        sumOf(samples, name, labels);
      const counts = [
        ...Object.values(models).map(({ queued, in_flight: inFlight }) => queued + inFlight),
        ...Object.values(replicas).map(({ leases }) => leases),
        limits.buffered_bytes,
        gauge('queue_depth'),
        gauge('in_flight'),
        gauge('buffered_bytes'),
        gauge('upstream_connections', { state: 'busy' }),
      ];
      return counts.every((count) => count === 0);
    },
    REST_MS,
  );
}

/** The same, and idle connections are closed, on either side. */
async function untilClosed(gateway: GatewayUnderLoad): Promise<void> {
  await untilQuiet(gateway);
  await eventually(
    'idle connections are closed',
    async () => (await gateway.metric('upstream_connections')) === 0,
    REST_MS,
  );
  gateway.pool.closeIdle();
  await pause(BETWEEN_LOOKS_MS);
}

async function lookAt(gateway: GatewayUnderLoad): Promise<Rested> {
  const inside = await gateway.look();
  const { sockets = 0, others = 0 } = gateway.descriptors();
  const objects = Object.fromEntries(
    Object.entries(inside.classes).filter(([name]) => name !== '' && !PLAIN.has(name)),
  );
  return {
    inside,
    held: {
      sockets,
      otherDescriptors: others,
      timers: inside.timers,
      listeners: inside.listeners,
      resources: inside.resources,
      objects,
    },
  };
}

/** By name, whatever `now` holds more of than `before`. */
export function excessOf(before: Held, now: Held): Record<string, number> {
  const flat = (held: Held): Record<string, number> => ({
    sockets: held.sockets,
    'other descriptors': held.otherDescriptors,
    timers: held.timers,
    listeners: held.listeners,
    ...prefixed('resource ', held.resources),
    ...prefixed('objects of class ', held.objects),
  });
  const was = flat(before);
  return Object.fromEntries(
    Object.entries(flat(now)).flatMap(([name, count]) =>
      count > (was[name] ?? 0) ? [[name, count - (was[name] ?? 0)]] : [],
    ),
  );
}

function prefixed(prefix: string, counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [prefix + name, count]));
}

/**
 * At rest before the load that is measured: of several looks the most of each, since some things come and go by themselves
 * (a health check, a scrape of an engine).
 */
export async function baselineOf(gateway: GatewayUnderLoad): Promise<Rested> {
  await untilClosed(gateway);
  let rested = await lookAt(gateway);
  for (let times = 1; times < BASELINE_LOOKS; times += 1) {
    await pause(BETWEEN_LOOKS_MS);
    const next = await lookAt(gateway);
    rested = { inside: next.inside, held: mostOf(rested.held, next.held) };
  }
  return rested;
}

function mostOf(one: Held, other: Held): Held {
  const most = (
    left: Readonly<Record<string, number>>,
    right: Readonly<Record<string, number>>,
  ): Record<string, number> =>
    Object.fromEntries(
      [...Object.keys(left), ...Object.keys(right)].map((name) => [name, Math.max(left[name] ?? 0, right[name] ?? 0)]),
    );
  return {
    sockets: Math.max(one.sockets, other.sockets),
    otherDescriptors: Math.max(one.otherDescriptors, other.otherDescriptors),
    timers: Math.max(one.timers, other.timers),
    listeners: Math.max(one.listeners, other.listeners),
    resources: most(one.resources, other.resources),
    objects: most(one.objects, other.objects),
  };
}

/** Looks until nothing is above the baseline. What still was at the last look is left over. */
export async function restAfter(
  gateway: GatewayUnderLoad,
  baseline: Held,
): Promise<{ readonly rested: Rested; readonly excess: Record<string, number> }> {
  await untilClosed(gateway);
  for (let times = 1; ; times += 1) {
    const rested = await lookAt(gateway);
    const excess = excessOf(baseline, rested.held);
    if (Object.keys(excess).length === 0 || times === LOOKS) return { rested, excess };
    await pause(BETWEEN_LOOKS_MS);
  }
}
