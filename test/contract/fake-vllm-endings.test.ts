import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FakeEngine, startFake } from '../support/fake-vllm.ts';
import { rawRequest, type RawAnswer } from '../support/raw-http.ts';
import { recordedAnswer, recordedRows, type RecordedRow, streamEvents } from '../support/recorded.ts';
import { compareAnswers } from './compare-answers.ts';
import { BASE_FLAGS, requestBytes, SETUPS } from './recorded-requests.ts';

const rows = new Map(recordedRows().map((row) => [row.name, row] as const));
const SLOW = { FAKE_VLLM_TTFT_MS: '0', FAKE_VLLM_TOKEN_MS: '10', FAKE_VLLM_CONTROL: '1' };
const FLAGS = [...BASE_FLAGS, '--served-model-name', 'tiny'];

function rowOf(name: string): RecordedRow {
  const row = rows.get(name);
  if (row === undefined) throw new Error(`no row ${name}`);
  return row;
}

/** Sends a row's request, waits until it runs, lets `strike` happen, and gives the answer with what was recorded. */
async function struck(
  engine: FakeEngine,
  name: string,
  strike: () => void | Promise<void>,
): Promise<{ ours: RawAnswer; row: RecordedRow }> {
  const row = rowOf(name);
  const before = await metric(engine, 'generation_tokens_total');
  const answer = rawRequest(engine.port, requestBytes(row, engine.port));
  const grown = async (): Promise<boolean> => (await metric(engine, 'generation_tokens_total')) > before + 2;
  await expect.poll(grown, { interval: 5 }).toBe(true);
  await strike();
  return { ours: await answer, row };
}

async function metric(engine: FakeEngine, name: string): Promise<number> {
  const text = await (await fetch(`${engine.url}/metrics`)).text();
  return Number(new RegExp(`^vllm:${name}\\{.*\\} (\\S+)$`, 'm').exec(text)?.[1] ?? 'NaN');
}

describe('what a client sees when the engine stops or dies, as recorded', () => {
  it.each([
    ['stop-s0-stream', ''],
    ['stop-s0-plain', ''],
    ['stop-s0-abort-stream', 'shutdown_abort'],
    ['stop-s0-abort-plain', 'shutdown_abort'],
  ])('SIGTERM while busy: %s', async (name, fault) => {
    await using engine = await startFake({ flags: FLAGS, env: { ...SLOW, FAKE_VLLM_FAULT: fault } });
    const { ours, row } = await struck(engine, name, () => void process.kill(engine.pid, 'SIGTERM'));
    compareAnswers(row, ours, recordedAnswer(name));
    expect(await engine.exit).toEqual({ code: 0, signal: null });
  });

  it.each(['core-killed-stream', 'core-killed-plain'])('EngineCore is killed under load: %s', async (name) => {
    await using engine = await startFake({ flags: FLAGS, env: { ...SLOW, FAKE_VLLM_PROCESSES: '2' } });
    const { ours, row } = await struck(engine, name, () => {
      const core = /\(EngineCore pid=(\d+)\)/.exec(engine.output)?.[1];
      process.kill(Number(core), 'SIGKILL');
    });
    compareAnswers(row, ours, recordedAnswer(name));
    expect(await engine.exit).toEqual({ code: 0, signal: null });
  });

  it.each(['worker-killed-stream', 'worker-killed-plain'])('the engine dies by itself: %s', async (name) => {
    await using engine = await startFake({ flags: FLAGS, env: { ...SLOW, FAKE_VLLM_FAULT: 'exit0_after:0' } });
    const row = rowOf(name);
    const ours = await rawRequest(engine.port, requestBytes(row, engine.port));
    compareAnswers(row, ours, recordedAnswer(name));
    expect(await engine.exit).toEqual({ code: 0, signal: null });
  });

  it('the leader is killed: the stream is cut without a last chunk', async () => {
    await using engine = await startFake({ flags: FLAGS, env: SLOW });
    const { ours } = await struck(engine, 'api-server-killed-stream', () => void process.kill(engine.pid, 'SIGKILL'));
    expect(ours.end).not.toBe('whole');
    expect(streamEvents(ours.body).length).toBeGreaterThan(1);
    expect(ours.body.toString()).not.toContain('[DONE]');
  });

  it('drain: a new request gets 500 at once, and a stream the timeout leaves behind never ends', async () => {
    const env = { ...SLOW, FAKE_VLLM_SPEED: '4' };
    await using engine = await startFake({ flags: [...FLAGS, '--shutdown-timeout', '1'], env });
    const open = rowOf('drain-expired-stream-never-ends');
    let received = 0;
    const never = rawRequest(engine.port, requestBytes(open, engine.port), {
      enough: (bytes) => {
        received = bytes.length;
        return !engine.output.includes('[shutdown]') ? false : engine.output.includes('CTRL+C');
      },
    });
    await expect.poll(() => received > 1000, { interval: 5 }).toBe(true);
    process.kill(engine.pid, 'SIGTERM');
    await engine.said('[shutdown] API server: stopping engine client mode=drain');
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    const late = rowOf('drain-new-request');
    const refused = await rawRequest(engine.port, requestBytes(late, engine.port));
    compareAnswers(late, refused, recordedAnswer('drain-new-request'));
    await engine.said('Waiting for connections to close. (CTRL+C to force quit)');
    await expect(fetch(`${engine.url}/health`)).rejects.toThrow();
    expect(engine.running).toBe(true);
    await engine.kill();
    expect((await never).body.toString()).not.toContain('[DONE]');
  });

  it('stop-never-ends-stream: nothing comes any more until the client closes, then exit 0', async () => {
    await using engine = await startFake({ flags: FLAGS, env: { ...SLOW, FAKE_VLLM_FAULT: 'shutdown_never_ends' } });
    const row = rowOf('stop-never-ends-stream');
    const leave = new AbortController();
    const body = requestBytes(row, engine.port).toString().split('\r\n\r\n')[1] ?? '';
    const headers = { 'content-type': 'application/json' };
    const url = engine.url + row.path;
    const answer = await fetch(url, { method: 'POST', headers, body, signal: leave.signal });
    const reader = answer.body?.getReader();
    await reader?.read();
    process.kill(engine.pid, 'SIGINT');
    await engine.said('Waiting for connections to close. (CTRL+C to force quit)');
    expect(engine.running).toBe(true);
    leave.abort();
    expect(await engine.exit).toEqual({ code: 0, signal: null });
  });
});

describe('what an engine in a certain state answers, as recorded', () => {
  let engine: FakeEngine;

  beforeAll(async () => {
    const { flags, env } = SETUPS.names;
    engine = await startFake({ flags, env: { ...env, ...SLOW } });
  });

  afterAll(async () => {
    await engine.kill();
  });

  it.each(['sleep-aborts-stream', 'sleep-aborts-plain'])('%s', async (name) => {
    const { ours, row } = await struck(engine, name, async () => {
      await fetch(`${engine.url}/sleep?level=1`, { method: 'POST' });
    });
    await fetch(`${engine.url}/wake_up`, { method: 'POST' });
    compareAnswers(row, ours, recordedAnswer(name));
  });

  it('responses-get', async () => {
    const stored = rowOf('responses-stored');
    const first = await rawRequest(engine.port, requestBytes(stored, engine.port));
    const { id } = JSON.parse(first.body.toString()) as { id: string };
    const row = { ...rowOf('responses-get'), path: `/v1/responses/${id}` };
    const ours = await rawRequest(engine.port, requestBytes(row, engine.port));
    compareAnswers(row, ours, recordedAnswer('responses-get'));
    expect(ours.body).toEqual(first.body);
  });

  it('busy-chat-stream-late: in a burst the limit strikes after the headers', async () => {
    const { flags, env } = SETUPS.limit;
    await using limited = await startFake({ flags, env: { ...env, ...SLOW } });
    const row = rowOf('busy-chat-stream-late');
    const bytes = requestBytes(row, limited.port);
    const answers = await Promise.all(Array.from({ length: 8 }, () => rawRequest(limited.port, bytes)));
    const late = answers.filter(({ body }) => body.toString().includes('The engine is currently busy'));
    const streams = late.filter(({ status }) => status === 200);
    expect(answers.length - late.length).toBe(3);
    expect(streams.length).toBeGreaterThan(0);
    for (const ours of streams) compareAnswers(row, ours, recordedAnswer('busy-chat-stream-late'));
  });
});
