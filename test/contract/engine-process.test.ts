/** Engine, driver and the simulated server together: what a start prints, answers, fails with and leaves behind. */
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LaunchSpec } from '../../src/core/launch.ts';
import type { ExitReport } from '../../src/drivers/driver.ts';
import { SIMULATED_ENGINE } from '../../src/drivers/process/command.ts';
import { engineOf } from '../../src/engines/registry.ts';
import type { StartFailureCause } from '../../src/errors.ts';
import { engineKeys, type EngineKeys } from '../../src/platform/engine-keys.ts';
import { GIB } from '../../src/units.ts';
import { fakeVllmPath } from '../support/fake-vllm.ts';
import { modelConfig } from '../support/model-config.ts';
import { identityOf, stopOptions } from './driver-contract.ts';
import { freePort, processHarness, until, type ProcessHarness } from './process-harness.ts';

const ONE = identityOf('llama-8b-1');
const vllm = engineOf('vllm');
const model = modelConfig();

let harness: ProcessHarness;
let keys: EngineKeys;
let exits: ExitReport[];

beforeAll(() => {
  fakeVllmPath();
});
beforeEach(async () => {
  harness = await processHarness();
  keys = await engineKeys(harness.platform, harness.stateDir);
  exits = [];
  harness.driver.watch((exit) => exits.push(exit));
});
afterEach(async () => {
  await harness.close();
});

async function specOf(
  env: Readonly<Record<string, string>> = {},
  extraArgs: readonly string[] = [],
): Promise<LaunchSpec> {
  return vllm.launchSpec({
    model: { ...model, env: { FAKE_VLLM_START_MS: '300', ...env }, extraArgs },
    command: [SIMULATED_ENGINE],
    host: '127.0.0.1',
    port: await freePort(),
    engineKey: keys.keyFor(ONE),
    devices: [{ id: 'gpu-0', uuid: null, totalBytes: 24 * GIB, reservedBytes: 20 * GIB }],
    share: { tensorParallel: 1, utilization: null, kvCacheBytes: null, maxModelLen: null },
    image: null,
  });
}

async function get(
  origin: string,
  path: string,
  key: string | null = keys.keyFor(ONE),
): Promise<{ status: number; body: string }> {
  const headers = key === null ? {} : { authorization: `Bearer ${key}` };
  return harness.platform.http.get(`${origin}${path}`, { timeout: 20_000, headers });
}

async function launchReady(env: Readonly<Record<string, string>> = {}): Promise<string> {
  const { origin } = await harness.driver.launch(await specOf(env), ONE);
  await until(async () => {
    const health = await get(origin, '/health').catch(() => undefined);
    return health?.status === 200;
  });
  return origin;
}

describe('an engine that starts', () => {
  it('goes through its phases, answers to our key and name, and counts', async () => {
    const phases: string[] = [];
    const controller = new AbortController();
    const { origin } = await harness.driver.launch(await specOf(), ONE);
    for await (const line of harness.driver.logs(ONE, { tail: 1_000, follow: true, signal: controller.signal })) {
      const progress = vllm.readProgress(line);
      if (progress !== null && progress.phase !== phases.at(-1)) phases.push(progress.phase);
      if (line.includes('Application startup complete')) controller.abort();
    }
    expect(phases).toEqual(['config', 'engine', 'load', 'compile', 'profile', 'kv', 'graphs', 'serve']);
    await until(async () => (await get(origin, '/health').catch(() => undefined))?.status === 200);
    expect((await get(origin, '/v1/models', null)).status).toBe(401);
    const listed = JSON.parse((await get(origin, '/v1/models')).body) as { data: { id: string }[] };
    expect(listed.data.map(({ id }) => id)).toContain('llama-8b');
    const counters = vllm.readCounters((await get(origin, '/metrics')).body);
    expect(counters).toEqual({ promptTokens: 0, generationTokens: 0, kvCacheUsage: 0, running: 0 });
  });

  it('still answers to the key that a restarted gateway derives', async () => {
    const origin = await launchReady();
    const next = await harness.restart();
    expect(await next.list()).toMatchObject([{ usable: true, endpoint: { origin } }]);
    const again = await engineKeys(harness.platform, harness.stateDir);
    expect(again.fresh).toBe(false);
    expect((await get(origin, '/v1/models', again.keyFor(ONE))).status).toBe(200);
    next.adopt(ONE);
    await next.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });
});

describe('an engine that is stopped', () => {
  it('ends well when it can', async () => {
    await launchReady();
    await harness.driver.stop(ONE, stopOptions());
    expect(exits).toMatchObject([{ code: 0, signal: null }]);
    expect(await harness.members(ONE)).toEqual([]);
  });

  it.each(['orphan', 'setsid_orphan', 'sigterm_ignored'])('leaves nothing behind: %s', async (fault) => {
    await launchReady({ FAKE_VLLM_FAULT: fault });
    await harness.driver.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('leaves nothing behind when its leader was killed and its engine core lives on', async () => {
    await launchReady({ FAKE_VLLM_FAULT: 'orphan' });
    harness.murder(ONE);
    await until(() => exits.length === 1);
    expect((await harness.members(ONE)).length).toBeGreaterThan(0);
    await harness.driver.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('ends in the middle of a start, where the signal is lost', async () => {
    await harness.driver.launch(
      await specOf({ FAKE_VLLM_FAULT: 'sigterm_lost_during_start', FAKE_VLLM_START_MS: '6000' }),
      ONE,
    );
    await until(async () => (await harness.driver.tail(ONE, 1)).length > 0 || exits.length > 0);
    await harness.driver.stop(ONE, stopOptions({ starting: true, timeout: 9_000 }));
    expect(await harness.members(ONE)).toEqual([]);
  });
});

describe('an engine that fails to start', () => {
  it.each<[string, Readonly<Record<string, string>>, readonly string[], StartFailureCause]>([
    ['memory', { FAKE_VLLM_FAULT: 'oom_at_start' }, [], 'out_of_memory'],
    ['KV cache', { FAKE_VLLM_FAULT: 'kv_too_small' }, [], 'out_of_memory'],
    ['files', { FAKE_VLLM_FAULT: 'bad_model_files' }, [], 'model_files'],
    ['weights', { FAKE_VLLM_FAULT: 'bad_model_files:weights' }, [], 'model_files'],
    ['arguments', { FAKE_VLLM_FAULT: 'bad_arguments' }, [], 'bad_arguments'],
    ['flags', {}, ['--no-such-flag'], 'bad_arguments'],
    ['port', { FAKE_VLLM_FAULT: 'port_in_use' }, [], 'port_in_use'],
    ['crash', { FAKE_VLLM_FAULT: 'crash_at:load' }, [], 'crashed'],
    ['exit 0', { FAKE_VLLM_FAULT: 'exit0_at:load' }, [], 'crashed'],
  ])('is told apart: %s', async (_name, env, extraArgs, cause) => {
    await harness.driver.launch(await specOf(env, extraArgs), ONE);
    await until(() => exits.length === 1);
    const [exit] = exits;
    const verdict = vllm.classifyFailure(await harness.driver.tail(ONE, 400), exit ?? { code: null, signal: null });
    expect(verdict.cause).toBe(cause);
    expect(verdict.message).not.toMatch(/\/|\n/);
    await harness.driver.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });
});
