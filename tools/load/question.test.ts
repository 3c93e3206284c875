import { describe, expect, it } from 'vitest';
import type { Received } from './connection.ts';
import { endOf, question } from './question.ts';

const wish = { model: 'm', stream: true, tokens: 3 };

function received(body: string, over: Partial<Received> = {}): Received {
  const moments = { sentAt: 0, firstAt: 1, endAt: 2 };
  return { status: 200, headers: new Map(), body, whole: true, broken: null, left: false, ...moments, ...over };
}

const frame = (content: string, reason: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ delta: { content }, finish_reason: reason }] })}\n\n`;

describe('the end of a stream', () => {
  const asked = question(wish);
  const words = asked.expected.split(' ');
  const events = words.map((word, index) => frame(index === 0 ? word : ` ${word}`));
  const whole = [...events, frame('', 'stop'), 'data: [DONE]\n\n'].join('');

  it('is 200 when it is its own answer to the last word', () => {
    expect(words).toHaveLength(3);
    expect(endOf(asked, received(whole))).toBe('200');
  });

  it('is wrong when it is the answer to another question, in whole or in part', () => {
    expect(endOf(question(wish), received(whole))).toMatch(/^WRONG/);
    expect(endOf(asked, received(`${events[0]}${frame(' nonce:nx-m')}`, { whole: false }))).toMatch(/^WRONG/);
    expect(endOf(question(wish), received(events[0] ?? '', { whole: false, left: true }))).toMatch(/^WRONG/);
  });

  it('is wrong when a part looks complete', () => {
    expect(endOf(asked, received(`${events[0]}data: [DONE]\n\n`))).toMatch(/^WRONG/);
    expect(endOf(asked, received(events.join('')))).toMatch(/^WRONG/);
    expect(endOf(asked, received([...events, frame('', 'stop')].join('')))).toMatch(/^WRONG/);
  });

  it('is told apart from a marked break, a cut, an absence and a client that left', () => {
    const error = `data: ${JSON.stringify({ error: { code: 'upstream_lost' } })}\n\n`;
    expect(endOf(asked, received(events[0] + error, { whole: false }))).toBe('stream: upstream_lost');
    expect(endOf(asked, received(events[0] ?? '', { whole: false }))).toBe('cut');
    expect(endOf(asked, received('', { whole: false, status: 0 }))).toBe('no answer');
    expect(endOf(asked, received(events[0] ?? '', { whole: false, left: true }))).toBe('left');
    expect(endOf(asked, received('{"error":{"code":"queue_full"}}', { status: 429 }))).toBe('429 queue_full');
  });
});
