/**
 * Where a request waits: every place in the code of its path that hands control back and is to be called again. Found in
 * the text of the sources, and seen while requests run, so that none of the first can be missing among the second.
 */
import { EventEmitter } from 'node:events';
import type { ProcessClock } from '../simulation/shell/time.ts';
import { filesUnder, isTest, readSource } from '../support/source-tree.ts';

/** Waiting by promise, by event, by time, or by turn of the loop. */
const WAITS =
  /\bawait\b|\bnew Promise\b|\.then\(|\.(?:on|once|addListener)\(|\.(?:after|sleep|afterReads)\(|\bqueueMicrotask\(/;
const PATH = 'src/proxy';

export interface WaitPoint {
  /** `src/proxy/forward.ts:231` */
  readonly place: string;
  readonly text: string;
}

/** In the text of the data plane, comments aside. */
export function waitPoints(): readonly WaitPoint[] {
  const found: WaitPoint[] = [];
  for (const path of filesUnder(PATH)) {
    if (isTest(path)) continue;
    for (const [index, line] of readSource(path).split('\n').entries()) {
      const text = line.trim();
      if (/^(?:\/\/|\/?\*)/.test(text) || !WAITS.test(text)) continue;
      found.push({ place: `${path}:${index + 1}`, text });
    }
  }
  return found;
}

const FRAME = /(src\/proxy\/[\w-]+\.ts):(\d+):\d+/;

/** Notes each place that begins to wait, until disposed. */
export class WaitWatch implements Disposable {
  readonly seen = new Set<string>();
  readonly #undo: (() => void)[] = [];

  constructor() {
    const emitter = EventEmitter.prototype as unknown as Hooked;
    for (const name of ['on', 'once', 'addListener']) this.#hook(emitter, name);
    this.#hook(globalThis as unknown as Hooked, 'queueMicrotask');
  }

  watch(clock: ProcessClock): void {
    for (const name of ['after', 'sleep', 'afterReads']) this.#hook(clock as unknown as Hooked, name);
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.splice(0).toReversed()) undo();
  }

  #hook(target: Hooked, name: string): void {
    const real = target[name];
    const own = Object.hasOwn(target, name);
    if (real === undefined) throw new Error(`there is no ${name} to be watched`);
    const { seen } = this;
    target[name] = function hooked(this: unknown, ...given: unknown[]): unknown {
      const [, , ...callers] = (new Error('a place').stack ?? '').split('\n');
      // Node's own streams pass it on.
      const frame = FRAME.exec(callers.find((caller) => !caller.includes('node:')) ?? '');
      if (frame !== null) seen.add(`${frame[1]}:${frame[2]}`);
      return real.apply(this, given);
    };
    this.#undo.push(() => {
      if (own) target[name] = real;
      else Reflect.deleteProperty(target, name);
    });
  }
}

type Hooked = Record<string, ((...given: unknown[]) => unknown) | undefined>;
