/**
 * Counters, histograms and gauges as prom-client collects them. Counting is a map look-up and a few writes to a typed
 * array; labels, cumulative buckets and text are made at scrape time.
 */
import type { Metric, Registry } from 'prom-client';

/** Label sets beyond this many fold into one whose every label reads `other`: a bug upstream must not fill the memory. */
const MAX_LABEL_SETS = 5_000;
const OVERFLOW = 'other';
const SEPARATOR = '\u0000';

interface Sample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

interface Description {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

function register(
  registry: Registry,
  type: 'counter' | 'gauge' | 'histogram',
  { name, help }: Description,
  samples: () => readonly Sample[],
): void {
  const collected = {
    name,
    help,
    type,
    aggregator: 'sum',
    get: async () => ({ name, help, type, aggregator: 'sum', values: samples() }),
  };
  // The registry asks `name` and `get()` of a metric, which is all that a collector needs to have.
  registry.registerMetric(collected as unknown as Metric);
}

function toLabels(names: readonly string[], key: string): Record<string, string> {
  const values = key.split(SEPARATOR);
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']));
}

class Children<Child> {
  readonly #children = new Map<string, Child>();
  readonly #overflowKey: string;
  readonly #create: () => Child;

  constructor(labels: readonly string[], create: () => Child) {
    this.#overflowKey = labels.map(() => OVERFLOW).join(SEPARATOR);
    this.#create = create;
  }

  at(key: string): Child {
    const found = this.#children.get(key);
    if (found !== undefined) return found;
    if (this.#children.size >= MAX_LABEL_SETS && key !== this.#overflowKey) return this.at(this.#overflowKey);
    const created = this.#create();
    this.#children.set(key, created);
    return created;
  }

  /** Drops every child whose first label has this value. */
  forget(first: string): void {
    for (const key of this.#children.keys()) {
      if (key === first || key.startsWith(`${first}${SEPARATOR}`)) this.#children.delete(key);
    }
  }

  entries(): IterableIterator<[string, Child]> {
    return this.#children.entries();
  }
}

export class Counter {
  readonly #children: Children<{ value: number }>;

  constructor(registry: Registry, description: Description) {
    this.#children = new Children(description.labels, () => ({ value: 0 }));
    if (description.labels.length === 0) this.#children.at('');
    register(registry, 'counter', description, () =>
      [...this.#children.entries()].map(([key, child]) => ({
        labels: toLabels(description.labels, key),
        value: child.value,
      })),
    );
  }

  /** Drops what was counted under this value of the first label. */
  forget(first: string): void {
    this.#children.forget(first);
  }

  /** Label values in the order of the description. */
  add(amount: number, ...values: readonly string[]): void {
    this.#children.at(values.join(SEPARATOR)).value += amount;
  }
}

interface HistogramChild {
  /** Not cumulative; the last one counts what is above every bound. */
  readonly counts: Float64Array;
  sum: number;
}

export class Histogram {
  readonly #bounds: Float64Array;
  readonly #children: Children<HistogramChild>;

  constructor(registry: Registry, description: Description, bounds: readonly number[]) {
    this.#bounds = Float64Array.from(bounds);
    this.#children = new Children(description.labels, () => ({ counts: new Float64Array(bounds.length + 1), sum: 0 }));
    if (description.labels.length === 0) this.#children.at('');
    register(registry, 'histogram', description, () => this.#samples(description));
  }

  /** As of a counter. */
  forget(first: string): void {
    this.#children.forget(first);
  }

  observe(value: number, ...values: readonly string[]): void {
    const child = this.#children.at(values.length === 1 ? (values[0] ?? '') : values.join(SEPARATOR));
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] ?? Infinity)) bucket += 1;
    child.counts[bucket] = (child.counts[bucket] ?? 0) + 1;
    child.sum += value;
  }

  #samples({ name, labels: names }: Description): Sample[] {
    const samples: Sample[] = [];
    for (const [key, child] of this.#children.entries()) {
      const labels = toLabels(names, key);
      let total = 0;
      for (let bucket = 0; bucket < child.counts.length; bucket += 1) {
        total += child.counts[bucket] ?? 0;
        const bound = this.#bounds[bucket];
        samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bound ?? '+Inf' }, value: total });
      }
      samples.push({ metricName: `${name}_sum`, labels, value: child.sum });
      samples.push({ metricName: `${name}_count`, labels, value: total });
    }
    return samples;
  }
}

/** A gauge remembers nothing: `read` is asked at every scrape, so that it cannot drift. */
export function gauge(
  registry: Registry,
  description: Description,
  read: () => Iterable<readonly [value: number, ...labels: string[]]>,
): void {
  register(registry, 'gauge', description, () =>
    [...read()].map(([value, ...values]) => ({
      labels: Object.fromEntries(description.labels.map((name, index) => [name, values[index] ?? ''])),
      value,
    })),
  );
}
