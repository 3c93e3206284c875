import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FakeEngine, startFake } from '../support/fake-vllm.ts';
import { rawRequest } from '../support/raw-http.ts';
import { recordedAnswer, recordedRows, type RecordedRow } from '../support/recorded.ts';
import { compareAnswers } from './compare-answers.ts';
import { BY_HAND, requestBytes, type Setup, setupOf, SETUPS } from './recorded-requests.ts';

const FAST = { FAKE_VLLM_TTFT_MS: '0', FAKE_VLLM_TOKEN_MS: '0', FAKE_VLLM_CONTROL: '1' };
const rows = recordedRows();
const engines = new Map<Setup, FakeEngine>();

function engineOf(setup: Setup): FakeEngine {
  const engine = engines.get(setup);
  if (engine === undefined) throw new Error(`no engine for ${setup}`);
  return engine;
}

beforeAll(async () => {
  const started = Object.entries(SETUPS).map(async ([setup, { flags, env }]) => {
    engines.set(setup as Setup, await startFake({ flags, env: { ...env, ...FAST } }));
  });
  await Promise.all(started);
});

afterAll(async () => {
  await Promise.all([...engines.values()].map((engine) => engine.kill()));
});

/** Brings the engine into the state the row was recorded in. */
async function prepare(row: RecordedRow, engine: FakeEngine): Promise<() => Promise<void>> {
  if (row.section.startsWith('Queue limit')) return fill(engine);
  // The families of HTTP requests appear with the first one.
  if (row.path === '/metrics') await fetch(`${engine.url}/v1/nothing`);
  if (row.name === 'sleep-not-dev') return async () => undefined;
  const post = async (path: string): Promise<void> => void (await fetch(engine.url + path, { method: 'POST' }));
  if (row.name === 'metrics-admission') {
    await post('/sleep?level=1');
    await post('/wake_up');
  }
  if (/^(?:is_sleeping-true|wake_up-|metrics-while-asleep)/.test(row.name)) {
    await post('/sleep?level=1');
    if (row.name === 'wake_up-kv_cache') await post('/wake_up?tags=weights');
    return () => post('/wake_up');
  }
  if (row.name.startsWith('sleep-')) return () => post('/wake_up');
  if (row.name === 'is_paused') await post('/pause');
  return row.name === 'pause' || row.name === 'is_paused' ? () => post('/resume') : async () => undefined;
}

/** Takes every place of the limited engine with requests that do not end. */
async function fill(engine: FakeEngine): Promise<() => Promise<void>> {
  const ended = new AbortController();
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'x' }], max_tokens: 8, fake: { fault: 'hang' } });
  const headers = { 'content-type': 'application/json' };
  const url = `${engine.url}/v1/chat/completions`;
  const open = [1, 2, 3].map(() =>
    fetch(url, { method: 'POST', headers, body, signal: ended.signal }).catch(() => undefined),
  );
  await expect.poll(async () => (await engine.stats())['running'], { interval: 5 }).toBe(3);
  return async () => {
    ended.abort();
    await Promise.all(open);
    await expect.poll(async () => (await engine.stats())['running'], { interval: 5 }).toBe(0);
  };
}

describe('fake-vllm answers like the recorded engine', () => {
  const replayed = rows.filter((row) => row.section !== 'Engine stop and death' && !BY_HAND.has(row.name));

  it.each(replayed.map((row) => [row.name, row] as const))('%s', async (_name, row) => {
    const recorded = recordedAnswer(row.name);
    const engine = engineOf(setupOf(row, recorded.headers));
    const restore = await prepare(row, engine);
    try {
      const bytes = requestBytes(row, engine.port);
      const ours = await rawRequest(engine.port, bytes, { enough: () => row.method === 'HEAD' });
      compareAnswers(row, ours, recorded);
    } finally {
      await restore();
    }
  });
});
