import { readFileSync, rmSync, openSync, closeSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { createLogger } from './logger.ts';
import type { LoggerOptions } from './logger.ts';
import { prettyLine } from './pretty.ts';

const CANARY = 'canary-9f2c71e0aa';

function capture(over: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'info',
    format: 'json',
    output: { write: (line) => lines.push(line) },
    secrets: [CANARY],
    ...over,
  });
  return { ...logger, lines, logger, last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, unknown> };
}

describe('log lines', () => {
  it('are one JSON object each, with time, level, message and the fields of every parent', () => {
    const { log, lines, last } = capture();
    log.child({ part: 'controller' }).child({ replica: 'llama-1' }).warn({ attempt: 2 }, 'start failed');
    expect(lines).toHaveLength(1);
    expect(lines[0]?.endsWith('\n')).toBe(true);
    expect(last()).toMatchObject({
      level: 'warn',
      part: 'controller',
      replica: 'llama-1',
      attempt: 2,
      msg: 'start failed',
    });
    expect(Date.parse(String(last()['time']))).not.toBeNaN();
    expect(last()).not.toHaveProperty('pid');
    expect(last()).not.toHaveProperty('hostname');
  });

  it('obey a level changed at run time, child loggers made before included [item 139]', () => {
    const { log, lines, setLevel, logger } = capture();
    const child = log.child({ part: 'proxy' });
    child.debug({}, 'unseen: debug is off by default');
    expect(lines).toHaveLength(0);
    setLevel('debug');
    expect(logger.level).toBe('debug');
    child.debug({}, 'seen');
    setLevel('error');
    child.warn({}, 'unseen again');
    expect(lines).toHaveLength(1);
  });

  it('carry the request id as a field of its own [item 139]', () => {
    const { log, last } = capture();
    log.info({ request: 'a1b2' }, 'request');
    expect(last()['request']).toBe('a1b2');
  });

  it('describe errors with type, message, stack and cause', () => {
    const { log, last } = capture();
    log.error({ err: new Error('outer', { cause: new TypeError('inner') }) }, 'failed');
    expect(last()['err']).toMatchObject({
      type: 'Error',
      message: 'outer',
      cause: { type: 'TypeError', message: 'inner' },
    });
    expect(String((last()['err'] as Record<string, unknown>)['stack'])).toContain('logger.test.ts');
  });

  it('show maps as objects, and bound depth, width and bytes', () => {
    const { log, last } = capture();
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    log.info({ map: new Map([['a', 1]]), loop, wide: new Array(10_000).fill(1), bytes: new Uint8Array(9) }, 'x');
    expect(last()['map']).toEqual({ a: 1 });
    expect((last()['wide'] as unknown[]).length).toBe(200);
    expect(last()['bytes']).toBe('[9 bytes]');
  });

  it('reach a descriptor when flushed, without a wait', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vgw-log-'));
    const file = join(folder, 'out');
    const descriptor = openSync(file, 'a');
    try {
      const output = { descriptor, isTerminal: false, colour: false };
      const logger = createLogger({ level: 'info', format: 'auto', output });
      for (let index = 0; index < 1_000; index += 1) logger.log.info({ index }, 'line');
      logger.flush();
      const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
      expect(lines).toHaveLength(1_000);
      expect(JSON.parse(lines[999] ?? '{}')).toMatchObject({ index: 999 });
    } finally {
      closeSync(descriptor);
      rmSync(folder, { recursive: true });
    }
  });

  it('of one moment reach a descriptor together, soon and in order', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vgw-log-'));
    const file = join(folder, 'out');
    const descriptor = openSync(file, 'a');
    const clock = new VirtualClock();
    try {
      const output = { descriptor, isTerminal: false, colour: false };
      const logger = createLogger({ level: 'info', format: 'auto', output, clock });
      for (let index = 0; index < 3; index += 1) logger.log.info({ index }, 'line');
      expect(clock.pending).toBe(1);
      clock.advance(20);
      const text = await eventually('three lines', () => {
        const now = readFileSync(file, 'utf8');
        return now.split('\n').length === 4 && now;
      });
      expect([...text.matchAll(/"index":(\d)/g)].map((match) => match[1])).toEqual(['0', '1', '2']);
      logger.log.info({ index: 3 }, 'line');
      logger.flush();
      expect(readFileSync(file, 'utf8')).toContain('"index":3');
      expect(clock.pending).toBe(0);
    } finally {
      closeSync(descriptor);
      rmSync(folder, { recursive: true });
    }
  });
});

describe('secrets in log lines', () => {
  const SECRETS: readonly (readonly [string, object, string])[] = [
    ['by the name of the field', { authorization: `Bearer ${CANARY}` }, ''],
    ['by name in snake case', { api_key: CANARY }, ''],
    ['by name in camel case', { apiKey: CANARY, engineKey: CANARY, hfToken: CANARY }, ''],
    ['by name, deep down', { config: { models: [{ env: { HF_TOKEN: CANARY } }] } }, ''],
    ['by name of a header', { headers: { 'x-api-key': CANARY, Cookie: CANARY, 'Set-Cookie': CANARY } }, ''],
    ['by name when the value is an object', { password: { value: CANARY } }, ''],
    ['by value in a harmless field', { url: `http://engine/?q=${CANARY}` }, ''],
    ['by value in the message', {}, `the engine said ${CANARY}`],
    ['by value in an error', { err: new Error(`refused ${CANARY}`) }, ''],
    ['inside a map', { map: new Map([['token', CANARY]]) }, ''],
  ];

  it.each(SECRETS)('are hidden %s [I-98]', (_, fields, message) => {
    const { log, lines } = capture();
    log.info(fields, message);
    log.child(fields).info({}, message);
    expect(lines.join('')).not.toContain(CANARY);
    expect(lines.join('')).toContain('[redacted]');
  });

  const SHAPES: readonly (readonly [string, string, string])[] = [
    ['bearer tokens', 'sent Authorization: Bearer abcdef123456', 'abcdef123456'],
    ['key prefixes', 'with sk-proj0123456789abcdef', 'sk-proj0123456789abcdef'],
    ['hub tokens', 'using hf_AbCdEfGhIjKlMnOpQrSt', 'hf_AbCdEfGhIjKlMnOpQrSt'],
    ['credentials in a URL', 'GET http://me:hunter22@host/', 'hunter22'],
    ['a token in a URL', 'clone https://tok22en@host/x', 'tok22en'],
    ['a password without a user', 'redis://:hunter22@host', 'hunter22'],
    ['flags with a space', 'vllm serve x --api-key verysecretthing --port 1', 'verysecretthing'],
    ['flags with an equals sign', 'vllm serve x --api-key=verysecretthing --port 1', 'verysecretthing'],
  ];

  it.each(SHAPES)('are known by their shape: %s', (_, text, secret) => {
    const { log, lines } = capture();
    log.info({ text }, text);
    expect(lines.join('')).not.toContain(secret);
  });

  it('are hidden in argument lists', () => {
    const { log, lines, last } = capture();
    log.info({ argv: ['vllm', 'serve', 'repo', '--api-key', 'swordfish', '--port', '1'] }, 'launch');
    expect(lines.join('')).not.toContain('swordfish');
    expect(last()['argv']).toEqual(['vllm', 'serve', 'repo', '--api-key', '[redacted]', '--port', '1']);
  });

  it('do not blank out what only sounds like one', () => {
    const { log, last } = capture();
    const fields = {
      promptTokens: 12,
      completionTokens: 3,
      key: 'team-a',
      keyId: 'team-a',
      maxTokens: 9,
      tokens: 4,
      token: null,
    };
    log.info(fields, 'tokens: 12');
    expect(last()).toMatchObject({ ...fields, msg: 'tokens: 12' });
  });
});

describe('pretty log lines', () => {
  const line = (fields: object): string =>
    JSON.stringify({ time: '2026-01-02T03:04:05.678Z', level: 'info', ...fields });

  it('hold time, level, message and fields', () => {
    expect(prettyLine(line({ msg: 'model ready', model: 'llama', seconds: 2.1 }), false)).toBe(
      '03:04:05.678 INFO  model ready model=llama seconds=2.1\n',
    );
  });

  it('begin with what a decision is about, as `events` shows it', () => {
    const decision = { event: 'replica.ready', model: 'llama', replica: 'llama-1', msg: 'Ready after 2.1 s.' };
    expect(prettyLine(line(decision), false)).toBe(
      '03:04:05.678 INFO  replica.ready        llama-1: Ready after 2.1 s.\n',
    );
    const pinned = {
      event: 'model.pinned',
      model: 'llama',
      replica: null,
      by: 'ops',
      msg: 'An operator asked for it.',
    };
    expect(prettyLine(line(pinned), false)).toBe(
      '03:04:05.678 INFO  model.pinned         llama: An operator asked for it. by=ops\n',
    );
  });

  it('say of a request what is out of the ordinary', () => {
    const request = {
      ...{
        msg: 'request',
        request: 'r-1',
        key: 'anonymous',
        method: 'POST',
        route: 'chat_completions',
        model: 'llama',
      },
      ...{
        stream: true,
        status: 200,
        outcome: 'completed',
        replica: 'llama-1',
        started_at: '2026-01-02T03:04:05.000Z',
      },
      ...{ duration_ms: 12.5, first_byte_ms: 3.25, queue_ms: 0, cold_start_ms: 0, attempts: 1, bytes_in: 4 },
    };
    expect(prettyLine(line(request), false)).toBe(
      '03:04:05.678 INFO  POST chat_completions llama 200 in 12.5 ms, streamed request=r-1 first_byte_ms=3.25\n',
    );
    const refused = { ...request, model: 'unknown', status: 404, stream: false, outcome: 'rejected', key: 'app' };
    expect(prettyLine(line({ ...refused, code: 'model_not_found' }), false)).toContain(
      'POST chat_completions 404 in 12.5 ms request=r-1 key=app outcome=rejected',
    );
  });

  it('[B88] cannot be forged by what a stranger sent', () => {
    const forged = { event: 'x\u001b[2J', replica: 'a\nb', msg: 'c\nd' };
    expect(prettyLine(line(forged), false)).not.toMatch(/\u001b|\n./u);
    const text = prettyLine(line({ msg: 'a\nb\u001b[2J', path: '/x y\r\n\u001b[31m', name: 'caf\u00e9' }), false);
    expect(text.split('\n')).toHaveLength(2);
    expect(text).not.toContain('\u001b');
  });

  it('are coloured only when asked', () => {
    expect(prettyLine(line({ msg: 'x' }), true)).toContain('\u001b[32m');
    expect(prettyLine(line({ msg: 'x' }), false)).not.toContain('\u001b');
  });

  it('put a stack below the line', () => {
    const err = { type: 'Error', message: 'no', stack: 'Error: no\n    at a (x.ts:1)\n    at b (y.ts:2)' };
    expect(prettyLine(line({ msg: 'failed', err }), false)).toBe(
      '03:04:05.678 INFO  failed err="Error: no"\n    at a (x.ts:1)\n    at b (y.ts:2)\n',
    );
  });

  it('are chosen on a terminal and JSON elsewhere when the format is auto', () => {
    const lines: string[] = [];
    const write = (text: string): void => void lines.push(text);
    createLogger({ level: 'info', format: 'auto', output: { write, isTerminal: true } }).log.info({}, 'a');
    createLogger({ level: 'info', format: 'auto', output: { write } }).log.info({}, 'b');
    expect(lines[0]).toMatch(/INFO {2}a\n$/);
    expect(JSON.parse(lines[1] ?? '')).toMatchObject({ msg: 'b' });
  });
});
