import { describe, expect, it } from 'vitest';
import { createTelemetry } from './create-telemetry.ts';
import { systemClock } from '../platform/clock.ts';
import type { RequestRecord } from './telemetry.ts';

const RECORD: RequestRecord = {
  id: 'req-1',
  keyId: 'team "a"',
  method: 'POST',
  route: 'chat_completions',
  model: 'llama\u2028"8b"',
  stream: true,
  status: 200,
  outcome: 'completed',
  code: '',
  replica: 'llama-1',
  startedAt: 1_769_000_000_123,
  durationMs: 12.345_678,
  firstByteMs: null,
  queueMs: 0,
  coldStartMs: 0,
  addedMs: 0.1,
  attempts: 1,
  bytesIn: 10,
  bytesOut: 20,
  promptTokens: null,
  completionTokens: 7,
};

function lineOf(record: RequestRecord, level: 'info' | 'warn' | 'error' = 'info'): Record<string, unknown> | undefined {
  const lines: string[] = [];
  const output = { write: (line: string) => void lines.push(line) };
  using telemetry = createTelemetry({
    level,
    format: 'json',
    output,
    clock: systemClock,
    isModel: () => true,
    processMetrics: false,
  });
  telemetry.requestEnded(record);
  expect(lines.length).toBeLessThanOrEqual(1);
  return lines[0] === undefined ? undefined : (JSON.parse(lines[0]) as Record<string, unknown>);
}

describe('the line of a request', () => {
  it('is valid JSON with every field of the record, under the names of the interface', () => {
    expect(lineOf(RECORD)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      request: 'req-1',
      key: 'team "a"',
      method: 'POST',
      route: 'chat_completions',
      model: 'llama\u2028"8b"',
      stream: true,
      status: 200,
      outcome: 'completed',
      replica: 'llama-1',
      duration_ms: 12.346,
      first_byte_ms: null,
      queue_ms: 0,
      cold_start_ms: 0,
      added_ms: 0.1,
      attempts: 1,
      bytes_in: 10,
      bytes_out: 20,
      prompt_tokens: null,
      completion_tokens: 7,
      started_at: '2026-01-21T12:53:20.123Z',
      msg: 'request',
    });
    const named = new Set(['id', 'keyId', 'code']);
    const fields = Object.keys(RECORD).filter((name) => !named.has(name));
    const snake = fields.map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
    expect(Object.keys(lineOf(RECORD) ?? {})).toEqual(expect.arrayContaining(snake));
  });

  it('shows no secret that a client chose as its id', () => {
    expect(JSON.stringify(lineOf({ ...RECORD, id: 'sk-abcdefghijklmnop' }))).not.toContain('abcdefghijklmnop');
  });

  it('has a level by who is to look at it', () => {
    expect(lineOf({ ...RECORD, outcome: 'internal', code: 'internal_error' }, 'error')).toMatchObject({
      level: 'error',
      code: 'internal_error',
    });
    expect(lineOf({ ...RECORD, outcome: 'upstream_failed' }, 'warn')).toMatchObject({ level: 'warn' });
    expect(lineOf(RECORD, 'warn')).toBeUndefined();
  });
});
