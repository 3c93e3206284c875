/** The original's own files, as they are, and what their settings mean here. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { load, type Situation } from '../../test/support/load-config.ts';
import type { ModelConfig } from './config.ts';

const fixture = (name: string): string =>
  readFileSync(new URL(`../../test/fixtures/original/${name}`, import.meta.url), 'utf8');

const originalEnvironment: Readonly<Record<string, string>> = Object.fromEntries(
  fixture('env')
    .split('\n')
    .map((line) => /^([A-Z_]+)=(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => [match[1] ?? '', match[2] ?? '']),
);

/** Models without a driver of their own are the docker driver's, as every model of the original was. */
async function models(yaml: string, situation: Situation = {}): Promise<Readonly<Record<string, ModelConfig>>> {
  const { config, lines } = await load(yaml, situation);
  expect(lines.filter((line) => line.startsWith('error'))).toEqual([]);
  return Object.fromEntries(config?.models ?? []);
}

describe("the original's files", () => {
  it('[S18] loads its models.yaml as it is', async () => {
    const { config, lines } = await load(fixture('models.yaml'));
    expect(lines).toEqual([]);
    expect([...(config?.models.keys() ?? [])]).toEqual([
      'everyday',
      'coder-short',
      'coder-long',
      'big',
      'embed',
      'mini',
      'quantised',
    ]);
    expect(config?.models.get('everyday')).toMatchObject({
      alwaysOn: true,
      preload: true,
      inactivityTimeout: 0,
      pool: 'pair',
      kvReservationSeqs: 8,
    });
    expect(config?.models.get('big')).toMatchObject({
      tensorParallelSize: 2,
      quantization: 'awq_marlin',
      extraArgs: ['--enable-prefix-caching', '--max-num-batched-tokens', '4096'],
      inactivityTimeout: 1_200_000,
    });
    expect(config?.models.get('quantised')).toMatchObject({
      repo: 'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M',
      pool: 'spare',
    });
  });

  it('[S18] loads its models.yaml under its environment, and everything in it keeps its meaning [item 1]', async () => {
    const { config, problems } = await load(undefined, {
      env: originalEnvironment,
      files: { '/app/config/models.yaml': fixture('models.yaml') },
    });
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(problems.filter(({ severity }) => severity === 'warning').map(({ path }) => path)).toEqual([
      'VLLM_SWAP_SPACE',
      'GATEWAY_REQUEST_STALE_FACTOR',
    ]);
    expect(config?.limits).toMatchObject({
      maxQueueSize: 120,
      maxConcurrent: 24,
      maxModelsConcurrent: 4,
      minResidency: 75_000,
    });
    expect(config?.timeouts).toMatchObject({ connect: 8_000, firstByte: 450_000 });
    expect(config?.memory).toMatchObject({
      placementMode: 'budget',
      colocateMargin: 1536 * 1024 ** 2,
      weightOverhead: 1.2,
      colocateMaxShare: 0.85,
    });
    expect(config?.devices.budgetFraction).toBe(0.9);
    expect(config?.drivers.docker).toMatchObject({
      network: 'inference_net',
      image: 'vllm/vllm-openai:v0.16.0',
      containerPrefix: 'worker',
      gatewayContainer: 'gateway_one',
      cacheDir: '/srv/models/hf-cache',
      tempDir: '/srv/scratch',
      port: 8000,
    });
    expect(config?.models.get('coder-short')).toMatchObject({
      startTimeout: 3_600_000,
      maxConcurrent: 24,
      maxQueueSize: 120,
    });
  });

  it('[item 6] runs from its environment alone', async () => {
    const { config, problems } = await load(undefined, { env: originalEnvironment });
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(
      [...(config?.models.values() ?? [])].map(({ name, repo, maxModelLen, maxNumSeqs, inactivityTimeout }) => [
        name,
        repo,
        maxModelLen,
        maxNumSeqs,
        inactivityTimeout,
      ]),
    ).toEqual([
      ['tiny', 'meta-llama/Llama-3.2-1B-Instruct', 16384, 12, 2_700_000],
      ['small', 'Qwen/Qwen3-8B', 16384, 12, 2_700_000],
    ]);
  });

  it.each([
    ['{a}', 'is not valid JSON'],
    ['["a"]', 'holds a list instead of an object'],
    ['"a"', 'holds "a" instead of an object'],
    ['null', 'holds null instead of an object'],
    ['{"a":5}', '"a": 5 is not text'],
    ['{"a":""}', '"a": "" is blank'],
    ['{"-a":"x/y"}', 'model name: "-a" begins with "-"'],
  ])('[item 7] refuses ALLOWED_MODELS_JSON=%s', async (text, message) => {
    const { config, problems } = await load(undefined, { env: { ALLOWED_MODELS_JSON: text } });
    expect(config).toBeNull();
    expect(problems.map(({ severity, source, path }) => [severity, source, path])).toEqual([
      ['error', 'environment', 'ALLOWED_MODELS_JSON'],
    ]);
    expect(problems[0]?.message).toContain(message);
  });

  it('[item 16] pins to GATEWAY_GPU_UUID only where there are no pools', async () => {
    const env = { GATEWAY_GPU_UUID: 'GPU-7' };
    expect((await models('models: { m: { repo: a/b } }', { env }))['m']?.devices).toEqual(['GPU-7']);
    const { config, lines } = await load(
      'pools: { p: [GPU-1] }\nmodels: { m: { repo: a/b, pool: p, max_model_len: 1 } }',
      { env },
    );
    expect(config?.models.get('m')?.devices).toBeNull();
    expect(lines).toEqual(['info environment: GATEWAY_GPU_UUID: has no effect: pools in gateway.yaml go before it']);
  });

  it('[item 18] warns of settings that contradict each other', async () => {
    const { problems } = await load(`
limits: { max_queue_size: 10, max_concurrent: 20, queue_timeout: 30s, max_turn: 60s }
timeouts: { request: 5s, total: 2s }
models:
  a: { repo: 'x/y-GGUF:Q8_0', max_model_len: 1, gpu_memory_utilization: 0.95 }
  b: { repo: x/y, max_model_len: 1, start_timeout: 1m, start_stall_timeout: 2m }
  c: { repo: x/y, max_model_len: 1, always_on: true, inactivity_timeout: 5m }
`);
    expect(problems.map(({ severity, path }) => [severity, path])).toEqual([
      ['warning', 'limits.max_queue_size'],
      ['warning', 'limits.max_turn'],
      ['warning', 'timeouts.connect'],
      ['warning', 'timeouts.total'],
      ['warning', 'models.a.gpu_memory_utilization'],
      ['warning', 'models.b.start_stall_timeout'],
      ['warning', 'models.c.inactivity_timeout'],
    ]);
  });
});
