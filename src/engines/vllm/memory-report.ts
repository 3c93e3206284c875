/** What vLLM says of its own memory while it starts (0.10 to 0.32): per device, the largest of its processes. */
import { GIB, type Bytes } from '../../units.ts';
import type { MemoryReport } from '../engine.ts';
import { message } from './log-text.ts';

const NOTHING: MemoryReport = { weightBytes: null, kvCacheBytes: null, kvCacheTokens: null, graphBytes: null };

interface Statement {
  readonly field: keyof MemoryReport;
  /** What every such line holds: looked for before the expression is tried. */
  readonly holds: string;
  /** The first group is the number. */
  readonly pattern: RegExp;
  readonly unit: Bytes;
}

const STATEMENTS: readonly Statement[] = [
  // Up to 0.10 without "memory", and in GB which were GiB.
  {
    field: 'weightBytes',
    holds: 'Model loading took',
    pattern: /^Model loading took ([\d.]+) Gi?B\b/,
    unit: GIB,
  },
  {
    field: 'kvCacheBytes',
    holds: 'KV cache memory',
    pattern: /^Available KV cache memory: (-?[\d.]+) GiB/,
    unit: GIB,
  },
  // With a size that it was given: "… kv_cache_memory_bytes config, … reserved 4.0 GiB memory for KV Cache".
  {
    field: 'kvCacheBytes',
    holds: 'memory for KV Cache',
    pattern: /\breserved ([\d.]+) GiB memory for KV Cache/,
    unit: GIB,
  },
  // At the end of newer starts, in the middle of other figures.
  {
    field: 'kvCacheBytes',
    holds: 'kv cache memory in use',
    pattern: /\bCurrent kv cache memory in use is ([\d.]+) GiB/,
    unit: GIB,
  },
  {
    field: 'kvCacheTokens',
    holds: 'KV cache size',
    pattern: /^(?:GPU|CPU|\w+) KV cache size: ([\d,_]+) tokens/,
    unit: 1,
  },
  {
    field: 'graphBytes',
    holds: 'Graph capturing finished',
    pattern: /^Graph capturing finished in [\d.]+ secs?, took (-?[\d.]+) GiB/,
    unit: GIB,
  },
];

/** Devices of one engine say the same things one after another: the largest counts, or the fewest tokens. */
export function readMemoryReport(lines: readonly string[]): MemoryReport {
  const found: { -readonly [Field in keyof MemoryReport]: MemoryReport[Field] } = { ...NOTHING };
  for (const line of lines) {
    // A new start in the same log: what an earlier one said is history.
    if (line.includes('LLM engine (v') && /\bInitializing a V\d LLM engine \(v/.test(line))
      Object.assign(found, NOTHING);
    for (const { field, holds, pattern, unit } of STATEMENTS) {
      if (!line.includes(holds)) continue;
      const match = pattern.exec(message(line));
      if (!match) continue;
      const value = Math.round(Number((match[1] ?? '').replaceAll(/[,_]/g, '')) * unit);
      if (!Number.isSafeInteger(value) || value < 0) continue;
      const before = found[field];
      const pick = field === 'kvCacheTokens' ? Math.min : Math.max;
      found[field] = before === null ? value : pick(before, value);
    }
  }
  return found;
}
