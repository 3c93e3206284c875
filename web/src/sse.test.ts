import { describe, expect, it } from 'vitest';
import { framesOf, type Frame } from './sse.ts';

async function framesIn(pieces: readonly string[]): Promise<readonly Frame[]> {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      for (const piece of pieces) controller.enqueue(encoder.encode(piece));
      controller.close();
    },
  });
  const frames: Frame[] = [];
  for await (const frame of framesOf(body)) frames.push(frame);
  return frames;
}

describe('server-sent events read from a fetch', () => {
  it('are put together again, wherever the network cut them', async () => {
    const text =
      'retry: 2000\n\nevent: snapshot\ndata: {"ü":1}\n\n: heartbeat\n\nid: 7\nevent: decision\ndata: a\ndata: b\n\n';
    const expected = [
      { event: 'snapshot', data: '{"ü":1}' },
      { event: 'decision', data: 'a\nb' },
    ];
    expect(await framesIn([text])).toEqual(expected);
    expect(await framesIn(text.split(''))).toEqual(expected);
    expect(await framesIn([text.replaceAll('\n', '\r\n')])).toEqual(expected);
  });

  it('leave out what was not finished', async () => {
    expect(await framesIn(['data: one\n\ndata: two'])).toEqual([{ event: 'message', data: 'one' }]);
  });
});
