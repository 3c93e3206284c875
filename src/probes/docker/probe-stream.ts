/**
 * The conversation with the helper container: a line in asks for one reading, the answer comes back in the attached
 * stream, in Docker's frames: 8 bytes of head (kind of stream, length), then the payload (Engine API, "attach").
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../platform/platform.ts';
import { KIB, SECOND, type Bytes, type Milliseconds } from '../../units.ts';
import { ProbeError } from '../reading/probe-error.ts';
import { FORMAT, PROCESS_QUERY, type QueryOutput } from '../reading/gpu-tables.ts';
import { ProbeHang } from '../reading/pacing.ts';

const HEAD: Bytes = 8;
/** As the nvidia-smi probe allows. */
const ANSWER_LIMIT: Bytes = 256 * KIB;
const STDERR = 2;

/**
 * Runs in the container until its standard input ends, which it does when the gateway is gone. Lines that are no question
 * are passed over: some clients send their own request body first.
 */
export const PROBE_SCRIPT = `export LC_ALL=C
while read -r word number query; do
  [ "$word" = read ] || continue
  nvidia-smi "$query" ${FORMAT} 2>&1
  printf '\\n@gpus %s %s\\n' "$number" "$?"
  nvidia-smi ${PROCESS_QUERY} ${FORMAT} 2>&1
  printf '\\n@processes %s %s\\n' "$number" "$?"
done`;

export interface ProbeAnswer {
  readonly gpus: QueryOutput;
  readonly processes: QueryOutput;
}

interface Question {
  readonly number: number;
  readonly answer: (answer: ProbeAnswer) => void;
  readonly fail: (error: ProbeError) => void;
  gpus: QueryOutput | null;
}

export class ProbeStream {
  readonly #clock: Clock;
  readonly #stream: Duplex;
  readonly #decoder = new TextDecoder();
  #frames: Uint8Array = new Uint8Array();
  /** Bytes of the payload that are still to come, and whether they are of standard error. */
  #left = 0;
  #isError = false;
  #line = '';
  #lines: string[] = [];
  #size = 0;
  #question: Question | null = null;
  #asked = 0;
  #end: ProbeError | null = null;
  #onEnd: (reason: ProbeError) => void = () => {};

  constructor(clock: Clock, stream: Duplex) {
    this.#clock = clock;
    this.#stream = stream;
    stream.on('data', (chunk: Uint8Array) => {
      this.#take(chunk);
    });
    const over = (): void => {
      this.#finish(new ProbeError('its helper container has ended'));
    };
    stream.on('end', over);
    stream.on('close', over);
    stream.on('error', over);
    // What an earlier writer left behind ends here.
    this.#write('\n');
  }

  /** Why nothing can be asked any more; null while it lives. */
  get end(): ProbeError | null {
    return this.#end;
  }

  /** Told once. */
  onEnd(run: (reason: ProbeError) => void): void {
    this.#onEnd = run;
  }

  /** One question at a time. @throws ProbeHang, after which the stream is of no use */
  async ask(query: string, limit: Milliseconds): Promise<ProbeAnswer> {
    if (this.#end !== null) throw this.#end;
    if (this.#question !== null) throw new ProbeError('its helper container is still busy');
    this.#asked += 1;
    const number = this.#asked;
    const answered = new Promise<ProbeAnswer>((answer, fail) => {
      this.#question = { number, answer, fail, gpus: null };
    });
    using _limit = this.#clock.after(limit, () => {
      this.#finish(new ProbeHang(`nvidia-smi in the helper container did not answer within ${limit / SECOND} s`));
    });
    this.#write(`read ${number} ${query}\n`);
    return await answered;
  }

  destroy(): void {
    this.#finish(new ProbeError('its helper container was given up'));
  }

  #write(text: string): void {
    if (!this.#stream.destroyed) this.#stream.write(text);
  }

  #finish(reason: ProbeError): void {
    if (this.#end !== null) return;
    this.#end = reason;
    this.#question?.fail(reason);
    this.#question = null;
    this.#lines = [];
    this.#frames = new Uint8Array();
    this.#stream.destroy();
    this.#onEnd(reason);
  }

  /** Payloads go on as they come; only a cut head is kept. */
  #take(chunk: Uint8Array): void {
    let rest = this.#frames.length === 0 ? chunk : joined(this.#frames, chunk);
    while (this.#end === null) {
      if (this.#left > 0) {
        const payload = rest.subarray(0, this.#left);
        if (payload.length === 0) break;
        this.#left -= payload.length;
        rest = rest.subarray(payload.length);
        if (!this.#isError) this.#read(this.#decoder.decode(payload, { stream: true }));
      } else {
        if (rest.length < HEAD) break;
        const view = new DataView(rest.buffer, rest.byteOffset, HEAD);
        const kind = view.getUint8(0);
        if (kind > STDERR || (view.getUint32(0) & 0xff_ff_ff) !== 0) {
          this.#finish(new ProbeError('the stream of its helper container is not divided as Docker does'));
          return;
        }
        this.#isError = kind === STDERR;
        this.#left = view.getUint32(4);
        rest = rest.subarray(HEAD);
      }
    }
    this.#frames = Uint8Array.from(rest);
  }

  #read(text: string): void {
    this.#size += text.length;
    if (this.#size > ANSWER_LIMIT) {
      this.#finish(new ProbeError(`nvidia-smi in the helper container printed more than ${ANSWER_LIMIT / KIB} KiB`));
      return;
    }
    const [first = '', ...more] = text.split('\n');
    let line = this.#line + first;
    for (const next of more) {
      this.#takeLine(line);
      line = next;
    }
    this.#line = line;
  }

  #takeLine(line: string): void {
    const [, part, number, code] = /^@(gpus|processes) (\d+) (\d+)$/.exec(line) ?? [];
    if (part === undefined) {
      this.#lines.push(line);
      return;
    }
    const output: QueryOutput = { text: this.#lines.join('\n'), errors: '', code: Number(code) };
    this.#lines = [];
    this.#size = 0;
    const question = this.#question;
    if (question === null || Number(number) !== question.number) return;
    if (part === 'gpus') question.gpus = output;
    else if (question.gpus !== null) {
      this.#question = null;
      question.answer({ gpus: question.gpus, processes: output });
    }
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const whole = new Uint8Array(one.length + other.length);
  whole.set(one);
  whole.set(other, one.length);
  return whole;
}
