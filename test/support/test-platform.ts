/**
 * A Platform without an operating system: virtual clock, seeded random, files in memory, scripted processes and HTTP.
 * For unit tests; nothing in it waits for real time.
 */
import { createHash, createHmac } from 'node:crypto';
import type { HttpAnswer, HttpClient, Platform, Random } from '../../src/platform/platform.ts';
import type { Milliseconds } from '../../src/units.ts';
import { MemoryFiles } from './memory-files.ts';
import { ScriptedSubprocess } from './scripted-subprocess.ts';
import { VirtualClock } from './virtual-clock.ts';

export { MemoryFiles } from './memory-files.ts';
export { ScriptedProcess, ScriptedSubprocess } from './scripted-subprocess.ts';

/** Mulberry32: small, fast, and the same everywhere for the same seed. */
export class SeededRandom implements Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  }

  hex(length: number): string {
    let digits = '';
    while (digits.length < length) digits += Math.floor(this.next() * 16).toString(16);
    return digits;
  }
}

export interface GetOptions {
  readonly timeout: Milliseconds;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export class ScriptedHttp implements HttpClient {
  /** Every URL that was asked, oldest first. */
  readonly asked: string[] = [];
  /** Answers a request, or throws; until it is set every connection is refused. */
  answer: (url: string, options: GetOptions) => HttpAnswer | Promise<HttpAnswer> = () => {
    throw Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' });
  };

  async get(url: string, options: GetOptions): Promise<HttpAnswer> {
    this.asked.push(url);
    return this.answer(url, options);
  }

  async close(): Promise<void> {}
}

export interface TestPlatform extends Platform {
  readonly clock: VirtualClock;
  readonly files: MemoryFiles;
  readonly subprocess: ScriptedSubprocess;
  readonly http: ScriptedHttp;
}

export interface TestPlatformOptions {
  readonly seed?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export function createTestPlatform(options: TestPlatformOptions = {}): TestPlatform {
  const clock = new VirtualClock();
  const files = new MemoryFiles(clock);
  return {
    clock,
    random: new SeededRandom(options.seed ?? 1),
    files,
    subprocess: new ScriptedSubprocess(clock, files),
    http: new ScriptedHttp(),
    env: options.env ?? {},
    executable: '/usr/bin/node',
    hmac: (key, text) => createHmac('sha256', key).update(text).digest('hex'),
    sha256: (text) => createHash('sha256').update(text).digest('hex'),
  };
}
