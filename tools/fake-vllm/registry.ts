/** A small Prometheus registry that prints like Python's client: `_created` gauges, floats as Python shows them. */

type Labels = Readonly<Record<string, string>>;

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly buckets: readonly number[];
  readonly series: Map<string, Series>;
}

/** One line of a family, or one histogram. Kept by who writes to it often. */
export interface Series {
  value: number;
  readonly created: number;
  readonly counts: number[];
  observed: number;
  readonly labels: Labels;
}

export class Registry {
  private readonly families = new Map<string, Family>();

  counter(name: string, help: string, labels: Labels, by = 0): void {
    this.series(name, help, 'counter', [], labels).value += by;
  }

  gauge(name: string, help: string, labels: Labels, value: number): void {
    this.series(name, help, 'gauge', [], labels).value = value;
  }

  summary(name: string, help: string, labels: Labels, value: number): void {
    const series = this.series(name, help, 'summary', [], labels);
    series.value += value;
    series.observed += 1;
  }

  /** Without a value it only makes the series appear. */
  histogram(name: string, help: string, buckets: readonly number[], labels: Labels, value?: number): void {
    const series = this.series(name, help, 'histogram', buckets, labels);
    if (value !== undefined) observe(series, buckets, value);
  }

  /** The text of every family whose name passes, in the order they were first used. */
  render(include: (name: string) => boolean = () => true): string {
    const lines: string[] = [];
    for (const family of this.families.values()) {
      if (include(family.name)) renderFamily(family, lines);
    }
    return `${lines.join('\n')}\n`;
  }

  series(name: string, help: string, type: Family['type'], buckets: readonly number[], labels: Labels): Series {
    let family = this.families.get(name);
    if (family === undefined) {
      family = { name, help, type, buckets, series: new Map() };
      this.families.set(name, family);
    }
    const key = Object.values(labels).join('\u0000');
    let series = family.series.get(key);
    if (series === undefined) {
      series = { value: 0, created: Date.now() / 1000, counts: buckets.map(() => 0), observed: 0, labels };
      family.series.set(key, series);
    }
    return series;
  }
}

/** Adds one value to a histogram. */
export function observe(series: Series, buckets: readonly number[], value: number): void {
  series.value += value;
  series.observed += 1;
  // Buckets are cumulative: the value counts in the first that holds it and in every later one.
  for (let index = buckets.length - 1; index >= 0 && value <= (buckets[index] ?? 0); index -= 1) {
    series.counts[index] = (series.counts[index] ?? 0) + 1;
  }
}

function renderFamily(family: Family, lines: string[]): void {
  const head = (name: string, type: string): void => {
    lines.push(`# HELP ${name} ${family.help}`, `# TYPE ${name} ${type}`);
  };
  const shown = family.type === 'counter' ? `${family.name}_total` : family.name;
  head(shown, family.type);
  for (const series of family.series.values()) {
    if (family.type === 'counter' || family.type === 'gauge') {
      lines.push(`${shown}${braces(series.labels)} ${pyFloat(series.value)}`);
      continue;
    }
    for (const [index, bound] of family.buckets.entries()) {
      const labels = braces({ ...series.labels, le: pyFloat(bound) });
      lines.push(`${shown}_bucket${labels} ${pyFloat(series.counts[index] ?? 0)}`);
    }
    if (family.type === 'histogram') {
      lines.push(`${shown}_bucket${braces({ ...series.labels, le: '+Inf' })} ${pyFloat(series.observed)}`);
    }
    const labels = braces(series.labels);
    lines.push(`${shown}_count${labels} ${pyFloat(series.observed)}`, `${shown}_sum${labels} ${pyFloat(series.value)}`);
  }
  if (family.type === 'gauge') return;
  head(`${family.name}_created`, 'gauge');
  for (const series of family.series.values()) {
    lines.push(`${family.name}_created${braces(series.labels)} ${pyFloat(series.created)}`);
  }
}

function braces(labels: Labels): string {
  const names = Object.keys(labels).sort();
  if (names.length === 0) return '';
  const escape = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  return `{${names.map((name) => `${name}="${escape(labels[name] ?? '')}"`).join(',')}}`;
}

/** `4` → `4.0`, `1795354016.4` → `1.7953540164e+09`, as the Python client prints them. */
export function pyFloat(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : 'NaN';
  const text = Number.isInteger(value) ? `${value}.0` : String(value);
  const dot = text.indexOf('.');
  if (value <= 0 || dot <= 6 || text.includes('e')) return text;
  const mantissa = `${text[0] ?? ''}.${text.slice(1, dot)}${text.slice(dot + 1)}`.replace(/[0.]+$/, '');
  return `${mantissa}e+${String(dot - 1).padStart(2, '0')}`;
}
