/** One end of the link between the controller's process and a worker: what is said in one turn of the loop goes out as one write. */
import type { Duplex } from 'node:stream';
import type { Clock } from '../platform/platform.ts';
import type { Bytes, Milliseconds } from '../units.ts';

/** What nobody waits for goes with what somebody waits for, at the latest after this: every write wakes the other process. */
const LATER: Milliseconds = 10;

export class Link<Said, Heard> {
  readonly #stream: Duplex;
  readonly #clock: Pick<Clock, 'after' | 'afterReads'>;
  #batch = '';
  #due: 'no' | 'later' | 'now' = 'no';
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
    if (this.#due === 'now') return;
    this.#due = 'now';
    this.#clock.afterReads(() => this.flush());
  }

  /** In order with everything else; nobody waits for it. */
  tell(message: Said): void {
    if (this.#closed) return;
    this.#batch += `${JSON.stringify(message)}\n`;
    if (this.#due !== 'no') return;
    this.#due = 'later';
    this.#clock.after(LATER, () => this.flush());
  }

  flush(): void {
    const batch = this.#batch;
    this.#batch = '';
    this.#due = 'no';
    if (batch !== '' && !this.#closed) this.#stream.write(batch);
  }

  #read(text: string, hear: (message: Heard) => void): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) hear(JSON.parse(line) as Heard);
  }
}
