/** Faults that may also be asked for by a single request, in its body's `fake.fault`. */
const REQUEST_FAULTS = [
  'hang',
  'slow_prefill',
  'cut_after',
  'rst_after',
  'never_ending_headers',
  'slow_headers',
  'error_first_frame',
  'error_frame_after',
  'missing_done',
  'engine_dead_500',
  'abort_after',
  'crash',
  'exit0',
] as const;

const PROCESS_FAULTS = [
  'slow_load',
  'hang_at',
  'oom_at_start',
  'kv_too_small',
  'bad_model_files',
  'bad_arguments',
  'port_in_use',
  'crash_at',
  'exit0_at',
  'crash_after',
  'crash_on_abort',
  'exit0_after',
  'die_at_ready_after',
  'hang_after',
  'sigterm_ignored',
  'sigterm_lost_during_start',
  'shutdown_never_ends',
  'shutdown_abort',
  'orphan',
  'setsid_orphan',
  'half_dead',
  'health_503',
  'health_slow',
  'health_hang',
  'refuse_metrics',
  'no_counters',
] as const;

const KNOWN: ReadonlySet<string> = new Set<string>([...REQUEST_FAULTS, ...PROCESS_FAULTS]);

/** What is to go wrong: name → arguments. Asked by name wherever something could. */
export class Faults {
  private entries: ReadonlyMap<string, readonly string[]>;

  /** @throws Error naming a fault that does not exist, so that a typing error in a test is seen. */
  constructor(text: string) {
    this.entries = parse(text);
  }

  /** Replaces the whole list: the control route uses it. */
  replace(text: string): void {
    this.entries = parse(text);
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  text(name: string, position = 0): string | undefined {
    return this.entries.get(name)?.[position];
  }

  /** Numeric argument; undefined when the fault is not asked for, `fallback` when it has no such argument. */
  number(name: string, fallback: number, position = 0): number | undefined {
    const words = this.entries.get(name);
    if (words === undefined) return undefined;
    const value = Number(words[position] ?? '');
    return words[position] === undefined || Number.isNaN(value) ? fallback : value;
  }

  /** These faults with a request's own on top. */
  with(text: string): Faults {
    const merged = new Faults('');
    merged.entries = new Map([...this.entries, ...parse(text)]);
    return merged;
  }

  toString(): string {
    return [...this.entries].map(([name, words]) => [name, ...words].join(':')).join(',');
  }
}

function parse(text: string): Map<string, readonly string[]> {
  const entries = new Map<string, readonly string[]>();
  for (const item of text.split(',')) {
    const [name = '', ...words] = item.trim().split(':');
    if (name === '') continue;
    if (!KNOWN.has(name)) throw new Error(`fake-vllm: unknown fault '${name}'`);
    entries.set(name, words);
  }
  return entries;
}
