/** `/metrics` of a gateway that has seen every kind of end: names, labels, and each request counted exactly once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configureEngine, untilBusy } from '../support/engine-view.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { samplesOf, sampleValue, type PrometheusSample } from '../support/prometheus-text.ts';

const messages = [{ role: 'user', content: 'Hello' }];
const PREFIX = 'vllm_gateway_';

/** Name → labels, as the interface names them. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  requests_total: ['model', 'route', 'outcome', 'code'],
  request_duration_seconds: ['model'],
  time_to_first_byte_seconds: ['model'],
  queue_wait_seconds: ['model'],
  added_latency_seconds: ['model'],
  cold_start_seconds: ['model', 'phase'],
  queue_depth: ['model'],
  in_flight: ['model'],
  replicas: ['model', 'state'],
  starts_total: ['model', 'result', 'cause'],
  evictions_total: ['model', 'reason'],
  device_memory_bytes: ['device', 'kind'],
  upstream_connections: ['model', 'state'],
  upstream_requests_total: ['model', 'reused'],
  retries_total: ['model', 'reason'],
  tokens_total: ['model', 'kind'],
  buffered_bytes: [],
  config_problems: [],
  invariant_violations_total: [],
  event_loop_lag_seconds: [],
};

let gateway: TestGateway;
let text: string;
let samples: readonly PrometheusSample[];
let sent = 0;

async function chat(
  model: string,
  more: Readonly<Record<string, unknown>> = {},
  init: RequestInit = {},
): Promise<number> {
  sent += 1;
  const response = await gateway.post('/v1/chat/completions', { model, messages, ...more }, init);
  await response.text().catch(() => '');
  return response.status;
}

/** One slot is taken; somebody waits and gives up, somebody waits too long, somebody finds the queue full. */
async function crowd(): Promise<void> {
  const [leaving, running] = [new AbortController(), new AbortController()];
  const gone = (call: Promise<number>): Promise<number> => call.catch(() => 0);
  const holding = gone(
    chat('narrow', { stream: true, fake: { tokens: 400, token_ms: 20 } }, { signal: running.signal }),
  );
  await untilBusy(gateway, 'narrow', 1, 0);
  const waiting = gone(chat('narrow', {}, { signal: leaving.signal }));
  await untilBusy(gateway, 'narrow', 1, 1);
  statuses.push(await chat('narrow'));
  leaving.abort();
  await waiting;
  await untilBusy(gateway, 'narrow', 1, 0);
  // This one says that it has a second of patience.
  statuses.push(await chat('narrow', {}, { headers: { 'x-stainless-timeout': '1' } }));
  running.abort();
  await holding;
  await untilBusy(gateway, 'narrow', 0, 0);
}

const statuses: number[] = [];

beforeAll(async () => {
  gateway = await startTestGateway({
    yaml: gatewayYaml(
      {
        first: { repo: 'org/first', memory: '20GiB', aliases: ['one'], env: QUICK },
        second: { repo: 'org/second', memory: '20GiB', env: QUICK },
        narrow: { repo: 'org/narrow', memory: '1GiB', max_concurrent: 1, max_queue_size: 1, env: QUICK },
        broken: { repo: 'org/broken', memory: '1GiB', env: { ...QUICK, FAKE_VLLM_FAULT: 'oom_at_start' } },
      },
      {
        devices: { probe: 'simulated', list: [{ id: 'gpu-0', memory: '24GiB' }] },
        retry: { delay: '10ms' },
      },
    ),
  });
  for (const model of ['first', 'one', 'second', 'second'])
    statuses.push(await chat(model, { max_tokens: 4, ignore_eos: true }));
  statuses.push(await chat('nobody-knows-this'), await chat('broken'));
  statuses.push(await chat('second', { fake: { fault: 'rst_after:0' }, stream: true }));
  await configureEngine(gateway, 'second', { fault: '' });
  statuses.push(await chat('second', { messages: 'none' }));
  await chat('narrow');
  await crowd();
  for (const path of ['/v1/models', '/v1/models/first', '/nowhere']) {
    sent += 1;
    await (await fetch(gateway.url + path)).text();
  }
  const response = await fetch(`${gateway.url}/metrics`);
  text = await response.text();
  samples = samplesOf(text);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

function requests(labels: Readonly<Record<string, string>>): number {
  return samples
    .filter(({ name }) => name === `${PREFIX}requests_total`)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

describe('metrics', () => {
  it('have every name of the interface, with its labels', () => {
    expect(statuses).toEqual([200, 200, 200, 200, 404, 503, 502, 400, 429, 503]);
    for (const [name, labels] of Object.entries(NAMES)) {
      const found = samples.filter(({ family }) => family === PREFIX + name);
      // No retry was needed; the name is there all the same.
      if (name !== 'retries_total') expect(found.length, name).toBeGreaterThan(0);
      expect(text).toContain(`# TYPE ${PREFIX}${name} `);
      for (const sample of found) {
        expect(Object.keys(sample.labels).filter((label) => label !== 'le')).toEqual(labels);
      }
    }
  });

  it('count each request once, by how it ended', () => {
    expect(requests({})).toBe(sent);
    expect(requests({ model: 'first', outcome: 'completed', route: 'chat_completions' })).toBe(2);
    expect(requests({ model: 'second', outcome: 'completed' })).toBe(3);
    expect(requests({ model: 'second', outcome: 'upstream_failed', code: 'upstream_lost' })).toBe(1);
    expect(requests({ model: 'broken', outcome: 'rejected', code: 'model_start_failed' })).toBe(1);
    expect(requests({ model: 'narrow', outcome: 'rejected', code: 'queue_full' })).toBe(1);
    expect(requests({ model: 'narrow', outcome: 'deadline', code: 'queue_timeout' })).toBe(1);
    expect(requests({ model: 'narrow', outcome: 'client_closed' })).toBe(2);
  });

  it('know only configured models, never what a client wrote', () => {
    expect(requests({ model: 'unknown', code: 'model_not_found' })).toBe(1);
    expect(text).not.toContain('nobody-knows-this');
    expect(text).not.toContain('"one"');
    expect(text).not.toContain('nowhere');
  });

  it('show an idle gateway as idle, and what was done', () => {
    for (const model of ['first', 'second', 'narrow', 'broken']) {
      expect(sampleValue(text, `${PREFIX}in_flight`, { model })).toBe(0);
      expect(sampleValue(text, `${PREFIX}queue_depth`, { model })).toBe(0);
    }
    expect(sampleValue(text, `${PREFIX}buffered_bytes`, {})).toBe(0);
    expect(sampleValue(text, `${PREFIX}invariant_violations_total`, {})).toBe(0);
    expect(sampleValue(text, `${PREFIX}starts_total`, { model: 'broken', result: 'failed' })).toBe(1);
    expect(sampleValue(text, `${PREFIX}starts_total`, { model: 'second', result: 'ready' })).toBe(1);
    expect(sampleValue(text, `${PREFIX}evictions_total`, { model: 'first' })).toBe(1);
    expect(sampleValue(text, `${PREFIX}replicas`, { model: 'second', state: 'ready' })).toBe(1);
    expect(sampleValue(text, `${PREFIX}replicas`, { model: 'first', state: 'ready' })).toBe(0);
    expect(sampleValue(text, `${PREFIX}tokens_total`, { model: 'first', kind: 'completion' })).toBe(8);
    expect(sampleValue(text, `${PREFIX}upstream_requests_total`, { model: 'first', reused: 'true' })).toBe(1);
    expect(sampleValue(text, `${PREFIX}device_memory_bytes`, { device: 'gpu-0', kind: 'total' })).toBe(24 * 2 ** 30);
  });

  it('agree with the status', async () => {
    const status = (await gateway.status()) as unknown as { limits: { buffered_bytes: number } };
    expect(status.limits.buffered_bytes).toBe(0);
  });
});
