import { afterEach, describe, expect, it } from 'vitest';
import { createTelemetry } from './create-telemetry.ts';
import type { GatewayTelemetry } from './create-telemetry.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';
import { requestRecord } from '../../test/support/request-record.ts';
import { samplesOf, sampleValue } from '../../test/support/prometheus-text.ts';
import { GIB } from '../units.ts';

const lines: string[] = [];
const open: GatewayTelemetry[] = [];

afterEach(() => {
  lines.length = 0;
  for (const telemetry of open.splice(0)) telemetry[Symbol.dispose]();
});

function telemetryOf(clock = new VirtualClock(), processMetrics = false): GatewayTelemetry {
  const telemetry = createTelemetry({
    level: 'info',
    format: 'json',
    output: { write: (line) => lines.push(line) },
    clock,
    isModel: (name) => name === 'llama' || name === 'qwen',
    processMetrics,
  });
  open.push(telemetry);
  return telemetry;
}

const FLEET = fleetSnapshot({
  models: [modelSnapshot('llama', { queued: 3, inFlight: 2 }), modelSnapshot('qwen')],
  replicas: [replicaSnapshot('llama-1', 'llama'), replicaSnapshot('qwen-1', 'qwen', { state: 'starting' })],
  devices: [deviceSnapshot('gpu-0', { reservedBytes: 6 * GIB, foreignBytes: GIB })],
});

function observed(telemetry: GatewayTelemetry): void {
  telemetry.observe({
    snapshot: () => FLEET,
    proxyStats: () => ({ bufferedBytes: 4_096, connections: [{ model: 'llama', busy: 2, idle: 5 }] }),
    configProblems: () => 1,
  });
}

async function render(telemetry: GatewayTelemetry): Promise<string> {
  return (await telemetry.renderMetrics()).text;
}

describe('metrics', () => {
  it('have every name and label of the interface [item 138]', async () => {
    const telemetry = telemetryOf(new VirtualClock(), true);
    observed(telemetry);
    telemetry.requestEnded(requestRecord());
    telemetry.upstreamRequest('llama', true);
    telemetry.retried('llama', 'connect');
    telemetry.startEnded('llama', 'ready', '', 42_000);
    telemetry.evicted('qwen', 'evicted');
    const samples = samplesOf(await render(telemetry));
    const expected: Readonly<Record<string, readonly string[]>> = {
      requests_total: ['code', 'model', 'outcome', 'route'],
      request_duration_seconds_count: ['model'],
      time_to_first_byte_seconds_count: ['model'],
      queue_wait_seconds_count: ['model'],
      added_latency_seconds_count: ['model'],
      cold_start_seconds_count: ['model', 'phase'],
      queue_depth: ['model'],
      in_flight: ['model'],
      replicas: ['model', 'state'],
      starts_total: ['cause', 'model', 'result'],
      evictions_total: ['model', 'reason'],
      device_memory_bytes: ['device', 'kind'],
      upstream_connections: ['model', 'state'],
      upstream_requests_total: ['model', 'reused'],
      retries_total: ['model', 'reason'],
      tokens_total: ['kind', 'model'],
      buffered_bytes: [],
      config_problems: [],
      invariant_violations_total: [],
      event_loop_lag_seconds_count: [],
    };
    for (const [name, labels] of Object.entries(expected)) {
      const found = samples.filter((sample) => sample.name === `vllm_gateway_${name}`);
      expect(found, name).not.toHaveLength(0);
      for (const sample of found) expect(Object.keys(sample.labels).sort(), name).toEqual(labels);
    }
    expect(samples.some((sample) => sample.name === 'process_cpu_user_seconds_total')).toBe(true);
    expect(samples.some((sample) => sample.name.startsWith('nodejs_'))).toBe(true);
  });

  it('describe every name once, before its samples', async () => {
    const telemetry = telemetryOf();
    observed(telemetry);
    telemetry.requestEnded(requestRecord());
    const text = await render(telemetry);
    const described = text.split('\n').filter((line) => line.startsWith('# TYPE'));
    expect(new Set(described).size).toBe(described.length);
    for (const { family } of samplesOf(text))
      expect(described.some((line) => line.startsWith(`# TYPE ${family} `))).toBe(true);
  });

  it('compute gauges from the snapshot of the scrape, so that they cannot drift [item 30]', async () => {
    const telemetry = telemetryOf();
    let fleet = FLEET;
    telemetry.observe({
      snapshot: () => fleet,
      proxyStats: () => ({ bufferedBytes: 0, connections: [] }),
      configProblems: () => 0,
    });
    expect(sampleValue(await render(telemetry), 'vllm_gateway_queue_depth', { model: 'llama' })).toBe(3);
    expect(sampleValue(await render(telemetry), 'vllm_gateway_replicas', { model: 'qwen', state: 'starting' })).toBe(1);
    fleet = fleetSnapshot({ models: [modelSnapshot('llama')] });
    const text = await render(telemetry);
    expect(sampleValue(text, 'vllm_gateway_queue_depth', { model: 'llama' })).toBe(0);
    expect(sampleValue(text, 'vllm_gateway_replicas', { model: 'llama', state: 'ready' })).toBe(0);
    expect(text).not.toContain('qwen');
  });

  it('take one snapshot per scrape', async () => {
    const telemetry = telemetryOf();
    let taken = 0;
    telemetry.observe({
      snapshot: () => {
        taken += 1;
        return FLEET;
      },
      proxyStats: () => ({ bufferedBytes: 0, connections: [] }),
      configProblems: () => 0,
    });
    await render(telemetry);
    expect(taken).toBe(1);
  });

  it('give memory in bytes and time in seconds', async () => {
    const telemetry = telemetryOf();
    observed(telemetry);
    telemetry.requestEnded(requestRecord({ durationMs: 2_000, queueMs: 500 }));
    const text = await render(telemetry);
    expect(sampleValue(text, 'vllm_gateway_device_memory_bytes', { device: 'gpu-0', kind: 'reserved' })).toBe(6 * GIB);
    expect(sampleValue(text, 'vllm_gateway_request_duration_seconds_sum', { model: 'llama' })).toBe(2);
    expect(sampleValue(text, 'vllm_gateway_queue_wait_seconds_sum', { model: 'llama' })).toBe(0.5);
    expect(sampleValue(text, 'vllm_gateway_buffered_bytes', {})).toBe(4_096);
  });

  it('cumulate histogram buckets up to the count', async () => {
    const telemetry = telemetryOf();
    for (const durationMs of [1, 5, 7, 700, 1e9]) telemetry.requestEnded(requestRecord({ durationMs }));
    const text = await render(telemetry);
    const buckets = samplesOf(text).filter((sample) => sample.name === 'vllm_gateway_request_duration_seconds_bucket');
    const values = buckets.map((sample) => sample.value);
    expect(values).toEqual(values.toSorted((one, other) => one - other));
    expect(sampleValue(text, 'vllm_gateway_request_duration_seconds_bucket', { model: 'llama', le: '0.005' })).toBe(2);
    expect(sampleValue(text, 'vllm_gateway_request_duration_seconds_bucket', { model: 'llama', le: '600' })).toBe(4);
    expect(sampleValue(text, 'vllm_gateway_request_duration_seconds_bucket', { model: 'llama', le: '+Inf' })).toBe(5);
    expect(sampleValue(text, 'vllm_gateway_request_duration_seconds_count', { model: 'llama' })).toBe(5);
  });

  it('never carry text of clients: unknown models, routes and codes fold [I-97]', async () => {
    const telemetry = telemetryOf();
    for (let index = 0; index < 5_000; index += 1) {
      const text = `evil"\n${index}`;
      telemetry.requestEnded(requestRecord({ model: text, route: text, code: text, outcome: 'rejected' }));
    }
    const samples = samplesOf(await render(telemetry)).filter(
      (sample) => sample.name === 'vllm_gateway_requests_total',
    );
    expect(samples.every((sample) => sample.labels['model'] === 'unknown' && sample.labels['code'] === 'other')).toBe(
      true,
    );
    expect(samples.length).toBeLessThanOrEqual(101);
    expect(samples.reduce((total, sample) => total + sample.value, 0)).toBe(5_000);
  });

  it('measure how late timers fire', async () => {
    const clock = new VirtualClock();
    const telemetry = telemetryOf(clock);
    clock.advance(1_000);
    const text = await render(telemetry);
    expect(sampleValue(text, 'vllm_gateway_event_loop_lag_seconds_count', {})).toBe(2);
    expect(sampleValue(text, 'vllm_gateway_event_loop_lag_seconds_sum', {})).toBe(0);
    telemetry[Symbol.dispose]();
    expect(clock.pending).toBe(0);
  });
});

describe('a finished request', () => {
  it('is one access line, one count and one entry of the request log', async () => {
    const telemetry = telemetryOf();
    telemetry.requestEnded(requestRecord({ id: 'r-9', durationMs: 0.492_149_999_998 }));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'info',
      msg: 'request',
      request: 'r-9',
      key: 'anonymous',
      model: 'llama',
      outcome: 'completed',
      status: 200,
      prompt_tokens: 7,
      duration_ms: 0.492,
    });
    expect(sampleValue(await render(telemetry), 'vllm_gateway_requests_total', { model: 'llama' })).toBe(1);
    expect(telemetry.requests.find('r-9', null)).toMatchObject({ id: 'r-9' });
  });

  it.each([
    ['internal', 'error'],
    ['upstream_failed', 'warn'],
    ['deadline', 'warn'],
    ['rejected', 'info'],
    ['client_closed', 'info'],
    ['shutdown', 'info'],
  ] as const)('that ended as %s is logged at %s', (outcome, level) => {
    const telemetry = telemetryOf();
    telemetry.requestEnded(requestRecord({ outcome }));
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level, outcome });
  });

  it('is found by its own key only, newest first, among the last thousand', () => {
    const telemetry = telemetryOf();
    telemetry.requestEnded(requestRecord({ id: 'same', keyId: 'a', status: 200 }));
    telemetry.requestEnded(requestRecord({ id: 'same', keyId: 'b', status: 503 }));
    expect(telemetry.requests.find('same', 'a')?.status).toBe(200);
    expect(telemetry.requests.find('same', 'c')).toBeUndefined();
    expect(telemetry.requests.find('same', null)?.status).toBe(503);
    for (let index = 0; index < 999; index += 1) telemetry.requestEnded(requestRecord({ id: `r${index}` }));
    expect(telemetry.requests.find('same', 'b')?.status).toBe(503);
    expect(telemetry.requests.find('same', 'a')).toBeUndefined();
  });
});
