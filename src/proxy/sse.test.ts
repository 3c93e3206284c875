import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TAIL_BYTES } from './limits.ts';
import { FrameGate, FrameSplitter, splitFrames } from './sse.ts';
import { StreamWatch } from './stream-watch.ts';
import { errorInFrame } from './stream-events.ts';

const LIMIT = 1_000;

/** Events by the book: lines by any of the three line ends, an empty line ends an event. */
function countEvents(text: string): number {
  const lines = text.split(/\r\n|\n|\r/);
  // What follows the last line end is no line yet.
  return lines.slice(0, -1).filter((line) => line === '').length;
}

const texts = fc
  .array(fc.constantFrom('\r', '\n', '\r\n', 'data: x', ':', 'é', '\n\n', 'event: a'), { maxLength: 24 })
  .map((parts) => Buffer.from(parts.join('')));

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const sorted = [...cuts.map((at) => Math.min(at, bytes.length)), bytes.length].sort((a, b) => a - b);
  return sorted.map((end, index) => bytes.subarray(sorted[index - 1] ?? 0, end));
}

describe('the frame splitter', () => {
  it('finds as many events as the standard says, whatever the line ends', () => {
    fc.assert(
      fc.property(texts, (bytes) => {
        expect(new FrameSplitter().push(bytes).length).toBe(countEvents(bytes.toString()));
      }),
      { numRuns: 2_000 },
    );
  });

  it('loses, adds and reorders no byte at any split', () => {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(80), { maxLength: 6 }), (bytes, cuts) => {
        const gate = new FrameGate(LIMIT);
        const out: Buffer[] = [];
        for (const piece of cut(bytes, cuts)) {
          const events = gate.push(piece);
          if (events !== null) out.push(events);
        }
        const complete = Buffer.concat(out);
        expect(Buffer.concat([complete, gate.rest() ?? Buffer.alloc(0)]).equals(bytes)).toBe(true);
        // What went out ends with an event: at most the line feed of its last CRLF may be missing.
        expect(complete.length === 0 || /(?:^|[\r\n])[\r\n]$/.test(complete.toString())).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('splits at every event, once', () => {
    const bytes = Buffer.from('data: 1\n\n: c\r\n\r\nevent: x\rdata: 2\r\rdata: rest');
    expect(splitFrames(bytes).map(String)).toEqual([
      'data: 1\n\n',
      ': c\r\n\r\n',
      'event: x\rdata: 2\r\r',
      'data: rest',
    ]);
  });

  it('splits lines that end with LF alone where it splits all others', () => {
    const text = fc.array(fc.constantFrom('data: 1', 'id: 2', '\n', '\n\n', 'x'), { maxLength: 20 });
    fc.assert(
      fc.property(text, (parts) => {
        const bytes = Buffer.from(parts.join(''));
        const ends = new FrameSplitter().push(bytes);
        const all = ends.at(-1) === bytes.length || bytes.length === 0 ? ends : [...ends, bytes.length];
        expect(splitFrames(bytes).map(String)).toEqual(
          all.map((end, index) => bytes.toString('latin1', all[index - 1] ?? 0, end)),
        );
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('the frame gate', () => {
  it('passes a chunk that ends with an event without copying it', () => {
    const chunk = Buffer.from('data: 1\n\ndata: 2\n\n');
    expect(new FrameGate(LIMIT).push(chunk)).toBe(chunk);
  });

  it('gives up holding an event that grows beyond the bound', () => {
    const gate = new FrameGate(10);
    expect(gate.push(Buffer.from('data: 12'))).toBe(null);
    expect(String(gate.push(Buffer.from('3456')))).toBe('data: 123456');
    expect(gate.torn).toBe(true);
    expect(String(gate.push(Buffer.from('7\n\nda')))).toBe('7\n\n');
    expect(gate.torn).toBe(false);
    expect(String(gate.rest())).toBe('da');
  });
});

describe('the stream watch', () => {
  const end = (dialect: 'chat' | 'messages' | 'responses', ...events: string[]) => {
    const watch = new StreamWatch(dialect);
    for (const event of events) watch.push(Buffer.from(event));
    return watch.streamEnding();
  };

  it.each([
    'data: [DONE]\n\n',
    'data:[DONE]\n\n',
    'data: [DONE]  \r\n\r\n',
    'data: [DONE]\n\ndata: [DONE]\n\n',
    'data: [DONE]',
  ])('takes %j for the end of a chat stream', (text) => {
    expect(end('chat', 'data: {"choices":[]}\n\n', text).terminal).toBe(true);
  });

  it('is not fooled by text that only looks like an end, an error or an abort', () => {
    const text = JSON.stringify({ content: 'data: [DONE]\n\n "finish_reason":"abort" {"error":{' });
    expect(end('chat', `data: ${text}\n\n`)).toMatchObject({ terminal: false, failed: false });
    const event = JSON.stringify({ type: 'content_block_delta', text: 'event: message_stop\nevent: error\n' });
    expect(end('messages', `event: content_block_delta\ndata: ${event}\n\n`)).toMatchObject({
      terminal: false,
      failed: false,
    });
  });

  it('sees an error and an abort at the end', () => {
    expect(end('chat', 'data: {"error": {"message": "x"}}\n\n', 'data: [DONE]\n\n').failed).toBe(true);
    expect(end('chat', 'data: {"choices":[{"finish_reason":"abort"}]}\n\n', 'data: [DONE]\n\n').failed).toBe(true);
    expect(end('messages', 'event: error\ndata: {}\n\n')).toMatchObject({ failed: true, terminal: true });
  });

  it('reads usage from the end, in either spelling', () => {
    const chat = 'data: {"choices":[],"usage":{"prompt_tokens":1,"total_tokens":6,"completion_tokens":5}}\n\n';
    expect(end('chat', chat, 'data: [DONE]\n\n').usage).toEqual({ promptTokens: 1, completionTokens: 5 });
    const delta = 'event: message_delta\ndata: {"usage":{"input_tokens":12,"output_tokens":6}}\n\n';
    expect(end('messages', delta, 'event: message_stop\ndata: {"type":"message_stop"}\n\n').usage).toEqual({
      promptTokens: 12,
      completionTokens: 6,
    });
  });

  it('knows the end of a Responses stream even when its last event is larger than what is kept', () => {
    const big = `event: response.completed\ndata: {"response":{"output":"${'x'.repeat(200_000)}"},"type":"response.completed"}\n\n`;
    expect(end('responses', 'event: response.created\ndata: {}\n\n')).toMatchObject({ terminal: false });
    expect(end('responses', 'event: response.created\ndata: {}\n\n', big)).toMatchObject({
      terminal: true,
      failed: false,
    });
    expect(end('responses', 'event: response.failed\ndata: {}\n\n')).toMatchObject({ terminal: true, failed: true });
  });

  it('knows the last bytes of an answer, whatever pieces it came in', () => {
    const pieces = fc.array(fc.oneof(fc.nat(2_000), fc.nat(3 * TAIL_BYTES)), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(pieces, (sizes) => {
        const watch = new StreamWatch('responses');
        let all = '';
        for (const [index, size] of sizes.entries()) {
          const piece = Buffer.from(`"sequence_number":${index} ${'x'.repeat(size)}`);
          all += piece.toString();
          watch.push(piece);
          // What it was told in is used for something else.
          if (index > 0) piece.fill('0');
        }
        const told = [...all.slice(Math.max(0, all.length - TAIL_BYTES)).matchAll(/"sequence_number":(\d+)/g)];
        expect(watch.lastSequenceNumber()).toBe(Number(told.at(-1)?.[1] ?? -1));
      }),
      { numRuns: 100 },
    );
  });

  it('keeps a bounded tail', () => {
    const watch = new StreamWatch('chat');
    for (let index = 0; index < 2_000; index++) watch.push(Buffer.alloc(1_000, 'x'));
    watch.push(Buffer.from('data: [DONE]\n\n'));
    expect(watch.streamEnding().terminal).toBe(false);
  });
});

describe('a first event', () => {
  it.each([
    ['data: {"error":{"message":"busy","code":503}}\n\n', 503],
    ['data: {"error": {"message": "x", "type": "InternalServerError", "code": 500}}\n\n', 500],
    ['event: error\ndata: {"type":"error","error":{"type":"Service Unavailable","message":"busy"}}\n\n', 503],
    ['data: {"error":"Unauthorized"}\n\n', 500],
    [
      'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"x","message":"m"}}}\n\n',
      500,
    ],
  ])('that is an error is seen as one: %j', (frame, status) => {
    expect(errorInFrame(Buffer.from(frame))?.status).toBe(status);
  });

  it.each([
    'data: {"choices":[{"delta":{"content":"error"}}]}\n\n',
    'event: response.created\ndata: {"response":{"error":null},"type":"response.created"}\n\n',
    'data: {"error":null,"choices":[]}\n\n',
    'data: [DONE]\n\n',
  ])('that is none is not: %j', (frame) => {
    expect(errorInFrame(Buffer.from(frame))).toBe(null);
  });
});
