import { describe, expect, it } from 'vitest';
import { LineSplitter, plainText, type ProgressMode } from './log-lines.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function split(text: string, mode: ProgressMode, size = text.length * 4): string[] {
  const splitter = new LineSplitter(mode);
  const all = bytes(text);
  const lines: string[] = [];
  for (let from = 0; from < all.length; from += size) lines.push(...splitter.push(all.subarray(from, from + size)));
  return [...lines, ...splitter.end()];
}

describe('lines of a log', () => {
  it('are the same wherever the bytes were cut, in the middle of a character too', () => {
    const text = 'one\r\ntwo\n\nLoading:  0%\rLoading:  50%\rLoading: 100%\nschön ⏳ 🚀\nlast';
    for (const mode of ['each', 'last'] as const) {
      const whole = split(text, mode);
      for (let size = 1; size < 8; size += 1) expect(split(text, mode, size)).toEqual(whole);
    }
  });

  it('hold every drawing of a progress bar for a follower', () => {
    expect(split('a\r\n\n\rLoading: 0%\rLoading: 100%\r\nb', 'each')).toEqual([
      ...['a', '', 'Loading: 0%', 'Loading: 100%', 'b'],
    ]);
  });

  it('hold what was drawn last for who reads afterwards', () => {
    expect(split('a\r\n\n\rLoading: 0%\rLoading: 100%\nb: 1%\rb: 2%', 'last')).toEqual([
      'a',
      '',
      'Loading: 100%',
      'b: 2%',
    ]);
  });

  it('[B204] are plain text: no colours, titles, links or control characters', () => {
    expect(
      plainText('\u001b[1;31mred\u001b[0m \u001b]0;title\u0007x\u001b]8;;http://a\u001b\\link\u001b[K\u0000\u0008!'),
    ).toBe('red xlink!');
    expect(plainText('a\tb  ')).toBe('a\tb');
  });

  it('[B204] are handed on in pieces when they never end', () => {
    const lines = split('x'.repeat(200_000), 'each', 10_000);
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.join('')).toBe('x'.repeat(200_000));
  });

  it('[B204] show replacement characters for what is not UTF-8', () => {
    const splitter = new LineSplitter('each');
    expect(splitter.push(new Uint8Array([0x61, 0xff, 0x0a]))).toEqual(['a\ufffd']);
  });
});
