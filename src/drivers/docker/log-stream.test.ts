import { describe, expect, it } from 'vitest';
import { frames, type Frame } from './log-stream.ts';

function frame(output: 1 | 2, text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeUInt8(output, 0);
  head.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

async function* cut(bytes: Buffer, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function read(bytes: Buffer, size: number): Promise<[number, string][]> {
  const all: Frame[] = [];
  for await (const one of frames(cut(bytes, size))) all.push({ ...one, bytes: one.bytes.slice() });
  return all.map(({ output, bytes: part }) => [output, Buffer.from(part).toString('utf8')]);
}

describe('the frames of a log', () => {
  const whole = Buffer.concat([
    frame(1, 'an output\n'),
    frame(2, 'é error\n'),
    frame(1, ''),
    frame(1, 'x'.repeat(300)),
  ]);
  const expected = [
    [1, 'an output\n'],
    [2, 'é error\n'],
    [1, ''],
    [1, 'x'.repeat(300)],
  ];

  it.each([1, 2, 7, 8, 9, 64, 10_000])('are the same wherever the stream is cut: every %i bytes', async (size) => {
    expect(await read(whole, size)).toEqual(expected);
  });

  it('that are cut off are left out', async () => {
    expect(await read(whole.subarray(0, whole.length - 1), 50)).toEqual(expected.slice(0, -1));
  });

  it('[B202] that cannot be are an error, not a heap of memory', async () => {
    const wrong = Buffer.from('{"message":"this is no log at all"}');
    await expect(read(wrong, 16)).rejects.toThrow('not a multiplexed stream');
  });
});
