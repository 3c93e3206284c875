/** The log of a container as lines: frames taken apart, times taken off, and read on where a connection broke. */
import type { Clock } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import type { LogOptions } from '../driver.ts';
import { LineSplitter, type ProgressMode } from '../logs/log-lines.ts';
import type { DockerClient } from './client.ts';
import { DockerFailure } from './failures.ts';

const HEADER = 8;
/** The daemon cuts messages at 16 KiB; a longer frame means that this is no such stream. */
const MAX_FRAME = 4 * 1024 * 1024;
/** More than a daemon keeps of one container: all of it. */
const MAX_TAIL = 1_000_000;
const AGAIN_AFTER: Milliseconds = SECOND;

/** Standard output or error, with the bytes of one message. */
export interface Frame {
  readonly output: 1 | 2;
  readonly bytes: Uint8Array;
}

/** `application/vnd.docker.multiplexed-stream`: a type, three zero bytes, the length, the bytes. */
export async function* frames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Frame, void, undefined> {
  let pending = new Uint8Array(0);
  for await (const chunk of stream) {
    pending = joined(pending, chunk);
    let from = 0;
    while (pending.length - from >= HEADER) {
      const head = new DataView(pending.buffer, pending.byteOffset + from, HEADER);
      const length = head.getUint32(4);
      if (length > MAX_FRAME) throw new Error('the log of the container is not a multiplexed stream');
      if (pending.length - from < HEADER + length) break;
      const bytes = pending.subarray(from + HEADER, from + HEADER + length);
      yield { output: head.getUint8(0) === 2 ? 2 : 1, bytes };
      from += HEADER + length;
    }
    pending = pending.subarray(from);
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}

export interface LogSource {
  readonly client: DockerClient;
  readonly clock: Clock;
  readonly container: string;
  /** False once nothing will be appended any more. */
  readonly isLive: () => boolean;
}

/** Ends at the end of the log; with `follow` when the container is over or the signal aborts. */
export async function* logLines(
  source: LogSource,
  options: LogOptions,
  mode: ProgressMode,
): AsyncGenerator<string, void, undefined> {
  const reader = new MessageReader(mode);
  let tail = options.tail > MAX_TAIL ? null : options.tail;
  while (!options.signal.aborted) {
    try {
      const query = { follow: options.follow, tail, since: reader.since() };
      const stream = await source.client.logs(source.container, query, options.signal);
      for await (const frame of frames(stream)) yield* reader.read(frame);
      if (!options.follow || !source.isLive() || (await isOver(source))) break;
    } catch (error) {
      if (options.signal.aborted) return;
      const removed = error instanceof DockerFailure && error.status === 404;
      if (removed && reader.since() !== null) break;
      if (!options.follow || removed) throw error;
      if (!source.isLive()) break;
    }
    // The daemon is away or was restarted: what came since then is read as soon as it is back.
    if (reader.since() !== null) tail = null;
    await source.clock.sleep(AGAIN_AFTER, options.signal).catch(() => undefined);
  }
  if (!options.signal.aborted) yield* reader.end();
}

async function isOver({ client, container }: LogSource): Promise<boolean> {
  const facts = await client.inspect(container);
  return facts === undefined || !facts.State.Running;
}

class MessageReader {
  readonly #decoder = new TextDecoder();
  readonly #splitters: Readonly<Record<1 | 2, LineSplitter>>;
  /** Time of the newest message, as it was written, and how many carried it. */
  #newest = '';
  #ofNewest = 0;
  /** While reading on: messages up to here were read before. */
  #known = '';
  #skip = 0;

  constructor(mode: ProgressMode) {
    this.#splitters = { 1: new LineSplitter(mode), 2: new LineSplitter(mode) };
  }

  /** Where to read on, also that this begins. */
  since(): string | null {
    this.#known = this.#newest;
    this.#skip = this.#ofNewest;
    return this.#newest === '' ? null : unixTime(this.#newest);
  }

  read(frame: Frame): string[] {
    const { bytes } = frame;
    const space = bytes.indexOf(0x20);
    const time = this.#decoder.decode(bytes.subarray(0, Math.max(0, space)));
    if (!/^\d{4}-\d\d-\d\dT/.test(time)) return this.#splitters[frame.output].push(bytes);
    if (this.#known !== '' && time < this.#known) return [];
    if (time === this.#known && this.#skip > 0) {
      this.#skip -= 1;
      return [];
    }
    this.#ofNewest = time === this.#newest ? this.#ofNewest + 1 : 1;
    this.#newest = time;
    return this.#splitters[frame.output].push(bytes.subarray(space + 1));
  }

  end(): string[] {
    return [...this.#splitters[1].end(), ...this.#splitters[2].end()];
  }
}

/** `2026-01-02T03:04:05.123456789Z` as `1767323045.123456789`: the daemon's `since`, to the nanosecond. */
function unixTime(time: string): string {
  const [whole = '', fraction = ''] = time.replace(/Z$/, '').split('.');
  const seconds = Math.floor(new Date(`${whole}Z`).getTime() / SECOND);
  return `${seconds}.${fraction.padEnd(9, '0')}`;
}
