import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { Engine } from './engine.ts';
import type { Faults } from './faults.ts';
import type { Knobs } from './knobs.ts';
import type { Log, Speaker } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { ServeOptions } from './options.ts';
import type { Stats } from './stats.ts';
import type { VramClaim } from './vram.ts';

export const VERSION = '0.32.0';

/** The whole state of one pretended engine process. */
export interface App {
  readonly options: ServeOptions;
  readonly knobs: Knobs;
  readonly faults: Faults;
  readonly log: Log;
  readonly stats: Stats;
  readonly api: Speaker;
  engineSpeaker: Speaker;
  metrics: Metrics;
  engine: Engine;
  server: Server;
  vram: VramClaim | undefined;
  coreProcess: ChildProcess | undefined;
  phase: string;
  /** `draining`: the engine no longer takes requests; `closing`: nothing is taken. */
  state: 'starting' | 'ready' | 'draining' | 'closing';
  sleepLevel: number;
  awakeTags: Set<string>;
  /** MiB to take back when waking. */
  awakeMib: number;
  /** Weights were dropped by level 2 and not read again: answers are garbage. */
  weightsLost: boolean;
  readonly fingerprint: string;
  /** Stored answers of /v1/responses, when the store is on. */
  readonly responses: Map<string, unknown>;
  /** Adapters loaded at run time: name → path. */
  readonly loras: Map<string, string>;
  /** Generate requests taken so far. */
  taken: number;
}

/** 16 hex digits. */
export function shortId(): string {
  return randomBytes(8).toString('hex');
}

/** Real milliseconds for a time of the pretended engine. */
export function scaled(app: Pick<App, 'knobs'>, ms: number): number {
  return ms / app.knobs.speed;
}

export function sleepFor(ms: number): Promise<void> {
  return new Promise((done) => {
    setTimeout(done, Math.max(0, ms));
  });
}
