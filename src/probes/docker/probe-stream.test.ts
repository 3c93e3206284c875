import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle, VirtualClock } from '../../../test/support/virtual-clock.ts';
import { SECOND } from '../../units.ts';
import { PROBE_SCRIPT, ProbeStream } from './probe-stream.ts';

const STDOUT = 1;
const STDERR = 2;

/** An attached stream whose other end is the test. */
class Attached extends Duplex {
  written = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written += chunk.toString();
    done();
  }

  override _read(): void {}

  frame(text: string, kind = STDOUT): this {
    this.push(frame(text, kind));
    return this;
  }
}

const frame = (text: string, kind = STDOUT): Buffer => framed(Buffer.from(text), kind);

function framed(payload: Buffer, kind = STDOUT): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
}

const answerTo = (number: number, gpus = 'table', apps = 'apps', code = 0): string =>
  `${gpus}\n\n@gpus ${number} ${code}\n${apps}\n\n@processes ${number} 0\n`;

function open(): { clock: VirtualClock; attached: Attached; stream: ProbeStream } {
  const clock = new VirtualClock();
  const attached = new Attached();
  return { clock, attached, stream: new ProbeStream(clock, attached) };
}

const heard = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'answered',
    (error: unknown) => String(error),
  );

describe('the stream of the helper container', () => {
  it('asks with a line and takes the two tables that come back', async () => {
    const { attached, stream } = open();
    const asked = stream.ask('--query-gpu=uuid', 5 * SECOND);
    await settle();
    // The first line ends whatever a client sent before.
    expect(attached.written).toBe('\nread 1 --query-gpu=uuid\n');
    attached.frame(answerTo(1, 'a\nb', 'c', 9));
    expect(await asked).toEqual({
      gpus: { text: 'a\nb\n', errors: '', code: 9 },
      processes: { text: 'c\n', errors: '', code: 0 },
    });
  });

  it('reads the same, however the bytes are divided', async () => {
    const text = answerTo(1, 'GPU-a, Grüße 日本 🚀', 'none');
    const bytes = Buffer.from(text);
    const whole = Buffer.concat([
      frame('noise on stderr', STDERR),
      ...divided(bytes, [3, 20, 21]).map((part) => framed(part)),
    ]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 12 }), async (cuts) => {
        const { attached, stream } = open();
        const asked = stream.ask('--query-gpu=uuid', 5 * SECOND);
        for (const part of divided(whole, cuts)) attached.push(part);
        expect((await asked).gpus.text).toBe('GPU-a, Grüße 日本 🚀\n');
      }),
      { numRuns: 200 },
    );
  });

  it('passes over answers to questions that nobody asks any more', async () => {
    const { attached, stream } = open();
    attached.frame(answerTo(7, 'stale'));
    const asked = stream.ask('--query-gpu=uuid', 5 * SECOND);
    attached.frame(answerTo(1, 'fresh'));
    expect((await asked).gpus.text).toBe('fresh\n');
  });

  it('asks one question at a time', async () => {
    const { attached, stream } = open();
    const first = stream.ask('--query-gpu=uuid', 5 * SECOND);
    await expect(stream.ask('--query-gpu=uuid', 5 * SECOND)).rejects.toThrow('busy');
    attached.frame(answerTo(1));
    await first;
  });

  it('is of no use after a question without an answer', async () => {
    const { clock, attached, stream } = open();
    const ends: string[] = [];
    stream.onEnd((reason) => ends.push(reason.message));
    const asked = heard(stream.ask('--query-gpu=uuid', 5 * SECOND));
    attached.frame('half of it\n@gpus 1 0\n');
    await clock.advanceAsync(5 * SECOND);
    expect(await asked).toContain('did not answer within 5 s');
    expect(attached.destroyed).toBe(true);
    expect(ends).toHaveLength(1);
    await expect(stream.ask('--query-gpu=uuid', 5 * SECOND)).rejects.toThrow('did not answer within 5 s');
  });

  it('fails the question when the container ends', async () => {
    const { attached, stream } = open();
    const asked = heard(stream.ask('--query-gpu=uuid', 5 * SECOND));
    attached.push(null);
    expect(await asked).toContain('has ended');
  });

  it('takes so much and no more', async () => {
    const { attached, stream } = open();
    const asked = heard(stream.ask('--query-gpu=uuid', 5 * SECOND));
    for (let part = 0; part < 300 && !attached.destroyed; part += 1) attached.frame('x'.repeat(1024));
    await settle();
    expect(await asked).toContain('printed more than 256 KiB');
  });

  it.each([
    ['text where a frame should begin', Buffer.from('HTTP/1.1 200 OK\r\n')],
    ['a kind of stream that does not exist', Buffer.from([9, 0, 0, 0, 0, 0, 0, 1, 65])],
  ])('gives up on %s', async (_what, bytes) => {
    const { attached, stream } = open();
    const asked = heard(stream.ask('--query-gpu=uuid', 5 * SECOND));
    attached.push(bytes);
    expect(await asked).toContain('not divided as Docker does');
  });

  it('has a script that survives foreign lines and ends with its input', () => {
    expect(PROBE_SCRIPT).toContain('while read -r');
    expect(PROBE_SCRIPT).toContain('LC_ALL=C');
  });
});

function divided(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [
    0,
    ...[...new Set(cuts)].filter((at) => at < bytes.length).sort((one, other) => one - other),
    bytes.length,
  ];
  return places.slice(1).map((to, index) => bytes.subarray(places[index], to));
}
