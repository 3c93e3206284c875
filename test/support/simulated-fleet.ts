/** Gateways of simulated engines as child processes, and questions to gateway and engines. */
import { expect, vi } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from './in-process-gateway.ts';
import { samplesOf } from './prometheus-text.ts';

export interface SimulatedModel {
  readonly name: string;
  /** `FAKE_VLLM_…` without the prefix; `START_MS` is 200 and `CONTROL` open unless given. */
  readonly knobs?: Readonly<Record<string, string | number>>;
  /** Further keys of the model, one line each. */
  readonly keys?: readonly string[];
}

/** Below what the system gives out by itself. */
const FIRST_PORT = 10_000;
const PORT_RANGES = 100;
const PORTS_EACH = 100;

/** The engine computes as many sequences as any test has in flight, so that the gateway alone makes anybody wait. */
const KEYS = ['max_num_seqs: 256', 'stop_timeout: 5s'];

export function simulatedYaml(models: readonly SimulatedModel[], more = ''): string {
  const entries = models.map(({ name, knobs, keys = [] }) => {
    const env = Object.entries({ START_MS: 200, CONTROL: 1, TTFT_MS: 5, TOKEN_MS: 2, TOKENS: 4, ...knobs });
    const own = KEYS.filter((line) => !keys.some((key) => key.startsWith(`${line.split(':')[0]}:`)));
    return [
      `  ${name}:`,
      `    repo: org/${name}`,
      `    env: { ${env.map(([knob, value]) => `FAKE_VLLM_${knob}: "${value}"`).join(', ')} }`,
      ...[...own, ...keys].map((line) => `    ${line}`),
    ].join('\n');
  });
  const drivers = `{ default: process, process: { command: [simulated-vllm], port_range: ${ownPorts()} } }`;
  return `${more}\ndrivers: ${drivers}\nmodels:\n${entries.join('\n')}`;
}

/** Test files run side by side, each in a process of its own: their engines must not meet on one port. */
export function ownPorts(): string {
  const first = FIRST_PORT + (process.pid % PORT_RANGES) * PORTS_EACH;
  return `${first}-${first + PORTS_EACH - 1}`;
}

export function startFleet(
  models: readonly SimulatedModel[],
  more = '',
  options: Omit<TestGatewayOptions, 'yaml'> = {},
): Promise<TestGateway> {
  return startTestGateway({ ...options, yaml: simulatedYaml(models, more) });
}

export async function statusOf(gateway: TestGateway): Promise<StatusAnswer> {
  return (await (await fetch(`${gateway.url}/gateway/status`)).json()) as StatusAnswer;
}

/** Sum of the samples of one metric whose labels include the given ones; 0 when there are none. */
export async function metric(
  gateway: TestGateway,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  return samplesOf(text)
    .filter((sample) => sample.name === `vllm_gateway_${name}`)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, sample) => sum + sample.value, 0);
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  readonly max_running: number;
  readonly served: number;
  readonly aborted: number;
  readonly inference_requests: number;
  readonly inference_connections_total: number;
  readonly connections_open: number;
}

/** Address of the one engine process of a model, which need not be ready. */
async function engineUrl(gateway: TestGateway, model: string): Promise<string> {
  const { active_containers: engines } = await statusOf(gateway);
  const engine = Object.values(engines).find((one) => one.model_id === model && one.status !== 'STOPPING');
  if (!engine) throw new Error(`no engine of ${model}`);
  return `http://127.0.0.1:${engine.port}`;
}

/** What the one running engine of a model says about itself. */
export async function engineStats(gateway: TestGateway, model: string): Promise<EngineStats> {
  return (await (await fetch(`${await engineUrl(gateway, model)}/__fake/stats`)).json()) as EngineStats;
}

/** The engine loads, but is not ready before `letEngineGo`. */
export const HELD_START = { FAULT: 'health_503' };

/** From the next request on the engine produces nothing, until `letEngineGo`. */
export async function holdEngine(gateway: TestGateway, model: string): Promise<void> {
  await setFault(gateway, model, 'hang_after:0');
}

/** Takes every fault back. Waits for the engine to listen. */
export async function letEngineGo(gateway: TestGateway, model: string): Promise<void> {
  await until(() => setFault(gateway, model, ''));
}

async function setFault(gateway: TestGateway, model: string, fault: string): Promise<void> {
  const answer = await fetch(`${await engineUrl(gateway, model)}/__fake/config`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ fault }),
  });
  expect(answer.status).toBe(200);
}

export async function until(check: () => void | Promise<void>, timeout = 20_000): Promise<void> {
  await vi.waitFor(check, { timeout, interval: 10 });
}

export async function untilWaiting(gateway: TestGateway, model: string, count: number): Promise<void> {
  await until(async () => expect((await statusOf(gateway)).models[model]?.queued).toBe(count));
}

export async function untilRunning(gateway: TestGateway, model: string, count: number): Promise<void> {
  await until(async () => expect((await statusOf(gateway)).models[model]?.in_flight).toBe(count));
}

/** Nothing waits, runs or is held, by status and by metrics, and no invariant was ever broken. */
export async function untilAtRest(gateway: TestGateway): Promise<void> {
  await until(async () => {
    const { models, replicas, limits } = await statusOf(gateway);
    const busy = Object.entries(models).filter(([, model]) => model.queued + model.in_flight > 0);
    expect(busy).toEqual([]);
    expect(Object.values(replicas).filter((replica) => replica.leases > 0)).toEqual([]);
    expect(limits.buffered_bytes).toBe(0);
    const gauges = ['queue_depth', 'in_flight', 'buffered_bytes'].map((name) => metric(gateway, name));
    expect(await Promise.all(gauges)).toEqual([0, 0, 0]);
    expect(await metric(gateway, 'upstream_connections', { state: 'busy' })).toBe(0);
    expect(await metric(gateway, 'invariant_violations_total')).toBe(0);
  });
}
