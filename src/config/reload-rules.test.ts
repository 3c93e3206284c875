/** Every key of the schema, changed under a running configuration: what becomes of it is what the table says. */
import { describe, expect, it } from 'vitest';
import { MemoryFiles } from '../../test/support/memory-files.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { createHash } from 'node:crypto';
import { specHash } from '../launch-identity.ts';
import type { Config } from './config.ts';
import { effectiveConfig } from './effective.ts';
import { loadConfig, type LoadResult } from './load.ts';
import { renderProblem } from './problems.ts';
import { diffConfigs, isSame, type ConfigDiff } from './reload-diff.ts';
import { MODEL_RULES, SECTION_RULES, sectionRules, type ReloadRule } from './reload-rules.ts';

type Json = Readonly<Record<string, unknown>>;

const BASE: Json = {
  server: { listen: '127.0.0.1:9000' },
  auth: { keys: [{ id: 'app', key: 'sk-the-first-key' }] },
  devices: {
    probe: 'static',
    list: [
      { id: 'gpu-0', memory: '24GiB' },
      { id: 'gpu-1', memory: '24GiB' },
    ],
  },
  drivers: { default: 'process', process: { command: ['simulated-vllm'] } },
  models: {
    own: { repo: 'org/own', max_model_len: 8192 },
    boxed: { repo: 'org/boxed', driver: 'docker', max_model_len: 8192 },
    far: { repo: 'far', url: 'http://10.0.0.1:8000/v1', api_key: 'sk-of-the-far-one', headers: { 'x-team': 'one' } },
  },
};

const WHOLE_CARD: Json = { memory: { placement_mode: 'whole_card' } };

type Cases = Readonly<Record<string, readonly [value: unknown, beside?: Json]>>;

const below = (path: string, cases: Cases): Cases =>
  Object.fromEntries(Object.entries(cases).map(([name, values]) => [`${path}.${name}`, values]));

/** Another value for each key outside models, and what has to stand beside it. */
const SECTIONS: Cases = {
  'server.listen': ['127.0.0.1:9001'],
  'server.admin_listen': ['127.0.0.1:9002'],
  'server.allowed_hosts': [['gpu-box.lan']],
  'server.cors_origins': [['https://chat.example.org']],
  'server.max_body_size': ['1MiB'],
  'server.keepalive': [{ after: '3s', every: '4s' }],
  'server.workers': [2],
  'server.shutdown_timeout': ['5s'],
  'server.on_shutdown': ['leave'],
  'server.state_dir': ['/var/lib/other'],
  'log.level': ['debug'],
  'log.format': ['json'],
  'limits.max_queue_size': [7],
  'limits.max_concurrent': [8],
  'limits.max_models_concurrent': [9],
  'limits.queue_timeout': ['10s'],
  'limits.max_turn': ['11s'],
  'limits.min_residency': ['12s'],
  'limits.drain_timeout': ['13s'],
  'limits.max_buffered_bytes': ['64MiB'],
  'timeouts.connect': ['1s'],
  'timeouts.first_byte': ['2s'],
  'timeouts.between_chunks': ['3s'],
  'timeouts.total': ['4m'],
  'timeouts.stall': ['5s'],
  'retry.attempts': [1],
  'retry.delay': ['2s'],
  'retry.factor': [3],
  'retry.engine_down': [false],
  auth: [{ keys: [{ id: 'app', key: 'sk-the-second-key' }] }],
  'devices.probe': ['simulated'],
  'devices.command': ['/opt/nvidia-smi'],
  'devices.list': [
    [
      { id: 'gpu-0', memory: '48GiB' },
      { id: 'gpu-1', memory: '24GiB' },
    ],
  ],
  'devices.budget_fraction': [0.5],
  'memory.placement_mode': ['whole_card'],
  'memory.eviction': ['value'],
  'memory.overhead_factor': [2],
  'memory.overhead': ['2GiB'],
  'memory.colocate_margin': ['2GiB'],
  'memory.weight_overhead': [1.5],
  'memory.colocate_max_share': [0.5],
  ...below('telemetry.traces', {
    endpoint: ['http://10.0.0.9:4318'],
    headers: [{ 'x-tenant': 'two' }],
    sample_ratio: [0.5],
    service_name: ['other'],
    genai_attributes: [true],
  }),
  'drivers.default': ['docker'],
  ...below('drivers.docker', {
    socket: ['/run/other.sock'],
    network: ['other'],
    image: ['vllm/vllm-openai:v0.17.0'],
    gpus: ['none'],
    reach: ['published'],
    port: [8001],
    container_prefix: ['other'],
    gateway_container: ['other'],
    probe_image: ['nvidia/cuda:13.0.0-base-ubuntu24.04'],
    cache_dir: ['/srv/cache'],
    temp_dir: ['/srv/tmp'],
    library_path: ['/usr/lib64'],
  }),
  'drivers.process.command': [['vllm']],
  'drivers.process.port_range': ['21000-21099'],
  pools: [{ fast: ['gpu-0'], slow: ['gpu-1'] }, { defaults: { pool: 'fast' } }],
};

/** Of these no other value shows as such. */
const WITHOUT_ANOTHER = ['timeouts.request'];

const OF_MODELS: Readonly<Record<keyof typeof MODEL_RULES, readonly [model: string, value: unknown, beside?: Json]>> = {
  repo: ['own', 'org/another'],
  aliases: ['own', ['gpt']],
  driver: ['own', 'docker'],
  engine: ['own', 'openai-compatible', { models: { own: { command: ['server'], engine: 'vllm' } } }],
  url: ['far', 'http://10.0.0.2:8000/v1'],
  api_key: ['far', 'sk-of-the-same-one'],
  headers: ['far', { 'x-team': 'two' }],
  command: ['own', ['/opt/vllm'], { models: { own: { engine: 'vllm' } } }],
  env: ['own', { LEVEL: '1' }],
  image: ['boxed', 'vllm/vllm-openai:v0.17.0'],
  volumes: ['boxed', ['/srv/models:/models']],
  shm_size: ['boxed', '2GiB'],
  gpu_memory_utilization: ['own', 0.5],
  max_model_len: ['own', 4096],
  tensor_parallel_size: ['own', 2],
  max_num_seqs: ['own', 4],
  kv_reservation_seqs: ['own', 2],
  quantization: ['own', 'fp8'],
  dtype: ['own', 'float16'],
  extra_args: ['own', ['--enable-prefix-caching']],
  memory: ['own', '4GiB'],
  devices: ['own', ['gpu-1']],
  pool: ['own', 'slow', { pools: { fast: ['gpu-0'], slow: ['gpu-1'] }, defaults: { pool: 'fast' } }],
  colocate: ['own', true, WHOLE_CARD],
  inactivity_timeout: ['own', '1m'],
  always_on: ['own', true],
  preload: ['own', true],
  request_defaults: ['own', { seed: 1 }],
  max_queue_size: ['own', 7],
  max_concurrent: ['own', 8],
  keepalive: ['own', { after: '3s', every: '4s' }],
  timeouts: ['own', { total: '5m' }],
  start_timeout: ['own', '1m'],
  start_stall_timeout: ['own', '1m'],
  stop_timeout: ['own', '5s'],
  health_path: ['own', '/ready'],
  routes: ['own', ['/own/route']],
  description: ['own', 'mine'],
  unlisted: ['own', true],
  metadata: ['own', { owner: 'me' }],
};

function merged(base: Json, over: Json): Json {
  const isTree = (value: unknown): value is Json =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const all = Object.entries(over).map(([name, value]): [string, unknown] => {
    const before = base[name];
    return [name, isTree(before) && isTree(value) ? merged(before, value) : value];
  });
  return { ...base, ...Object.fromEntries(all) };
}

const at = (path: string, value: unknown): Json =>
  path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Json;

async function load(file: Json, running?: Config, flags: { readonly strict?: boolean } = {}): Promise<LoadResult> {
  const files = new MemoryFiles(new VirtualClock());
  await files.writeAtomic('/etc/gateway.yaml', JSON.stringify(file, null, 1));
  return loadConfig({ flags: { config: '/etc/gateway.yaml', ...flags }, env: {}, files, cwd: '/', running });
}

async function configOf(file: Json, running?: Config): Promise<Config> {
  const { config, problems } = await load(file, running);
  if (!config) throw new Error(problems.map(renderProblem).join('\n'));
  return config;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const diffOf = (before: Config, after: Config): ConfigDiff =>
  diffConfigs(before, after, (config, model) => specHash(config, model, sha256));

interface Reloaded {
  readonly before: Config;
  readonly after: Config;
  readonly diff: ConfigDiff;
}

async function reloaded(change: Json, beside: Json): Promise<Reloaded> {
  const base = merged(BASE, beside);
  const before = await configOf(base);
  const after = await configOf(merged(base, change), before);
  return { before, after, diff: diffOf(before, after) };
}

function expectRule(rule: ReloadRule, path: string, { before, after, diff }: Reloaded): void {
  const told = diff.changed.find((change) => change.path === path);
  const warned = after.problems.filter(({ code }) => code === 'needs_restart').map((problem) => problem.path);
  if (rule === 'restart') {
    expect({ ...after, problems: before.problems }).toEqual(before);
    expect(warned).toEqual([path]);
    expect([diff.changed, diff.drainAndRestart]).toEqual([[], []]);
    return;
  }
  expect(told).toMatchObject({ path, rule });
  expect(warned).toEqual([]);
  expect(diff.drainAndRestart.length > 0).toBe(rule === 'drain');
}

describe('a reload that changes one key', () => {
  it('is asked of every key there is', () => {
    const rules = sectionRules({ devices: { probe: 'static', command: '', list: [], budgetFraction: 1 } });
    const all = rules.map(({ path }) => path.join('.'));
    expect([...Object.keys(SECTIONS), ...WITHOUT_ANOTHER].toSorted()).toEqual(all.toSorted());
  });

  const rules = sectionRules({ devices: { probe: 'static', command: '', list: [], budgetFraction: 1 } });
  it.each(Object.entries(SECTIONS))('does with %s what its rule says', async (path, [value, beside = {}]) => {
    const rule = rules.find((one) => one.path.join('.') === path)?.rule;
    if (rule === undefined) throw new Error(`no rule for ${path}`);
    const change = await reloaded(at(path, value), beside);
    if (['auth'].includes(path)) expect(change.diff.changed).toMatchObject([{ path, rule }]);
    else expectRule(rule, path, change);
  });

  it.each(Object.entries(OF_MODELS))(
    'does with %s of a model what its rule says',
    async (key, [model, value, beside = {}]) => {
      const change = await reloaded({ models: { [model]: { [key]: value } } }, beside);
      expectRule(MODEL_RULES[key as keyof typeof MODEL_RULES], `models.${model}.${key}`, change);
      expect(change.diff.keep).toContain(model === 'far' ? 'own' : 'far');
    },
  );

  it('keeps a list of devices that was written for another probe', async () => {
    const { before, after } = await reloaded({ devices: { probe: 'none', list: [] } }, {});
    expect(after.devices).toEqual(before.devices);
    expect(after.problems.map(({ path }) => path)).toContain('devices.probe');
  });
});

describe('a reload', () => {
  it('tells removed, added, kept and changed models apart', async () => {
    const before = await configOf(BASE);
    const models = {
      own: { repo: 'org/own', max_model_len: 4096 },
      far: { repo: 'far', url: 'http://10.0.0.1:8000/v1' },
      fresh: { repo: 'org/fresh', max_model_len: 8192 },
    };
    const after = await configOf({ ...BASE, models }, before);
    expect(diffOf(before, after)).toMatchObject({
      keep: ['far'],
      drainAndRestart: ['own'],
      remove: ['boxed'],
      add: ['fresh'],
    });
  });

  it('that changes nothing is the same, and one that only reorders models or comments is not or is', async () => {
    const before = await configOf(BASE);
    expect(isSame(before, await configOf(BASE, before))).toBe(true);
    expect(isSame(before, await configOf({ 'x-note': 'a comment', ...BASE }, before))).toBe(true);
    const models = Object.fromEntries(Object.entries(BASE['models'] as Json).toReversed());
    expect(isSame(before, await configOf({ ...BASE, models }, before))).toBe(false);
  });

  it('shows no secret that changed', async () => {
    const secrets = { models: { far: { api_key: 'sk-of-the-same-one', headers: { 'x-team': 'two' } } } };
    const own = {
      models: {
        own: {
          env: { API_TOKEN: 'tok-1' },
          extra_args: ['--hf-token', 'tok-2', '--some-key=tok-3'],
          request_defaults: { api_key: 'tok-4' },
        },
      },
    };
    const { before, after, diff } = await reloaded(
      merged(merged(secrets, own), at('auth', { keys: [{ id: 'app', key: 'sk-x' }] })),
      {},
    );
    expect(diff.changed.map(({ path }) => path).toSorted()).toEqual([
      'auth',
      ...['far.api_key', 'far.headers', 'own.env', 'own.extra_args', 'own.request_defaults'].map(
        (key) => `models.${key}`,
      ),
    ]);
    expect(JSON.stringify(diff)).not.toMatch(/tok-|sk-|"two"|\\u0000/);
    for (const config of [before, after])
      expect(JSON.stringify(effectiveConfig(config))).not.toMatch(/tok-|sk-|\\u0000/);
  });

  it('is checked against the listener that stays, not the one that is written', async () => {
    const before = await configOf(merged(BASE, { server: { listen: '0.0.0.0:9000' } }));
    const { config, problems } = await load({ ...BASE, auth: undefined }, before);
    expect(config).toBeNull();
    expect(problems).toContainEqual(
      expect.objectContaining({ severity: 'error', code: 'open_listener', path: 'server.listen' }),
    );
  });

  it('needs a restart under --strict as well without being refused', async () => {
    const before = await configOf(BASE);
    const { config, problems } = await load(merged(BASE, { server: { listen: '127.0.0.1:1' } }), before, {
      strict: true,
    });
    expect(problems.filter(({ severity }) => severity !== 'info').map(({ code, line }) => [code, line])).toEqual([
      ['needs_restart', 3],
    ]);
    expect(config?.server.listen).toEqual({ host: '127.0.0.1', port: 9000 });
  });

  it('hangs on the file, on every file that a secret names, and on places that come first', async () => {
    const files = new MemoryFiles(new VirtualClock());
    await files.writeAtomic(
      '/app/config/models.yaml',
      JSON.stringify(merged(BASE, at('auth', { keys: [{ id: 'app', key: 'file:secrets/app' }] }))),
    );
    const result = await loadConfig({ flags: {}, env: {}, files, cwd: '/srv' });
    expect(result.files).toEqual(['/srv/gateway.yaml', '/app/config/models.yaml', '/srv/secrets/app']);
  });
});

describe('the table of rules', () => {
  it('has a rule for every section of the file', async () => {
    const sections = Object.keys(effectiveConfig(await configOf(BASE))).filter(
      (name) => !['source', 'admin_key', 'models'].includes(name),
    );
    expect(Object.keys(SECTION_RULES).toSorted()).toEqual(sections.toSorted());
  });
});
