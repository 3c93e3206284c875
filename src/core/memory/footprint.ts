/** What a model was seen to take: learned once ready, kept over restarts, used only for the very same thing. */
import type { Bytes, Milliseconds } from '../../units.ts';

/** All must match before a footprint is believed. */
export interface FootprintSignature {
  readonly specHash: string;
  /** Digest of the image; null = the driver has none. */
  readonly image: string | null;
  readonly deviceClass: string;
  readonly tensorParallel: number;
}

export interface Footprint {
  readonly model: string;
  readonly signature: FootprintSignature;
  /** Per device (the largest), once ready. */
  readonly steadyBytes: Bytes;
  /** Per device (the largest), seen between launch and ready; at least `steadyBytes`. */
  readonly peakBytes: Bytes;
  /** What the engine was told, so that the next start is the same: a share that followed the footprint would creep. */
  readonly utilization: number | null;
  /** KV cache per device as the engine reported it; null = not reported. */
  readonly kvCacheBytes: Bytes | null;
  readonly kvCacheTokens: number | null;
  /** Launch to ready. */
  readonly startTime: Milliseconds;
  /** Wall clock, milliseconds since the Unix epoch. */
  readonly measuredAt: Milliseconds;
  /** `process`: own processes on the devices; `device`: growth of the whole device; `engine`: its own report. */
  readonly source: 'process' | 'device' | 'engine';
}

/** A smaller reading is noise, not an engine. */
export const LEAST_FOOTPRINT: Bytes = 256 * 1024 * 1024;
