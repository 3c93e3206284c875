import { describe, expect, it } from 'vitest';
import { ResponseReader } from './response-reader.ts';

const PLAIN = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello';
const CHUNKED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata: \r\n3;a=b\r\nyes\r\n0\r\n\r\n';

function read(text: string, size: number): ResponseReader {
  const reader = new ResponseReader();
  const bytes = Buffer.from(text, 'latin1');
  for (let at = 0; at < bytes.length; at += size) reader.take(bytes.subarray(at, at + size));
  return reader;
}

describe('a response', () => {
  it('is the same however its bytes come', () => {
    for (let size = 1; size <= CHUNKED.length; size += 1) {
      const { status, body, whole, broken } = read(CHUNKED, size);
      expect([size, status, body, whole, broken]).toEqual([size, 200, 'data: yes', true, null]);
      expect(read(PLAIN, size)).toMatchObject({ status: 200, body: 'hello', whole: true, broken: null });
    }
  });

  it('without its end is not whole, wherever it was cut', () => {
    for (const text of [PLAIN, CHUNKED]) {
      for (let end = 0; end < text.length; end += 1) {
        const reader = read(text.slice(0, end), 1_000);
        reader.end();
        expect([end, reader.whole]).toEqual([end, false]);
      }
    }
  });

  it('is broken by bytes behind its end, by chunks of another size, and by what is no HTTP', () => {
    expect(read(`${PLAIN}!`, 1_000).broken).toContain('after the end');
    expect(read(`${PLAIN}!`, 1).broken).toContain('after the end');
    expect(read(CHUNKED.replace('6\r\n', '5\r\n'), 7).broken).toContain('longer than its size');
    expect(read(CHUNKED.replace('6\r\n', 'x\r\n'), 7).broken).toContain('size of a chunk');
    expect(read('SSH-2.0-OpenSSH\r\n\r\n', 7).broken).toContain('not a response');
  });
});
