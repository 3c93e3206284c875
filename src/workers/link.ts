/** One end of the link between the controller's process and a worker: what is said in one turn of the loop goes out as one write. */
import type { Duplex } from 'node:stream';
import type { Clock } from '../platform/platform.ts';
import type { Bytes, Milliseconds } from '../units.ts';

/** What nobody waits for goes with what somebody waits for, at the latest after this: every write wakes the other process. */
const LATER: Milliseconds = 10;
/** As long as nobody would notice. */
export const SOON: Milliseconds = 1;
const AT_ONCE: Milliseconds = 0;
const NEVER: Milliseconds = Number.POSITIVE_INFINITY;

export class Link<Said, Heard> {
  readonly #stream: Duplex;
  readonly #clock: Pick<Clock, 'after' | 'afterReads'>;
  #batch = '';
  /** What is batched goes out within this, which `#timer` sees to. */
  #due: Milliseconds = NEVER;
  #timer: Disposable | null = null;
  #rest = '';
  #closed = false;

  /** `hear` is called for every message, in order; what it throws is thrown out of the stream's event. */
  constructor(stream: Duplex, clock: Pick<Clock, 'after' | 'afterReads'>, hear: (message: Heard) => void) {
    this.#stream = stream;
    this.#clock = clock;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#read(text, hear));
    stream.on('close', () => {
      this.#closed = true;
    });
    // The other process is gone: its end is seen elsewhere.
    stream.on('error', () => undefined);
  }

  /** Said and not yet taken by the system. */
  get backlog(): Bytes {
    return this.#batch.length + this.#stream.writableLength;
  }

  say(message: Said): void {
    if (this.#closed) return;
    this.#batch += `${JSON.stringify(message)}\n`;
    if (this.#due === AT_ONCE) return;
    this.#due = AT_ONCE;
    this.#clock.afterReads(() => this.flush());
  }

  /** In order with everything else; nobody waits for it, or for `within` only. */
  tell(message: Said, within = LATER): void {
    if (this.#closed) return;
    this.#batch += `${JSON.stringify(message)}\n`;
    if (this.#due <= within) return;
    this.#due = within;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#clock.after(within, () => this.flush());
  }

  flush(): void {
    const batch = this.#batch;
    this.#batch = '';
    this.#due = NEVER;
    // Of what is told next it would make a write of its own.
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    if (batch !== '' && !this.#closed) this.#stream.write(batch);
  }

  #read(text: string, hear: (message: Heard) => void): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) hear(JSON.parse(line) as Heard);
  }
}
