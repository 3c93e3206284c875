import { describe, expect, it } from 'vitest';
import { FILE, load, MODEL } from '../../test/support/load-config.ts';

const LEGACY = { ALLOWED_MODELS_JSON: '{"tiny":"a/tiny"}', VLLM_MAX_MODEL_LEN_GLOBAL: '8192' };

describe('where a value comes from', () => {
  it('[B193] lets a file value go before a Compose environment at its defaults', async () => {
    const env = { GATEWAY_MAX_QUEUE_SIZE: '200', GATEWAY_MAX_CONCURRENT: '50', GATEWAY_MAX_MODELS_CONCURRENT: '3' };
    const { config } = await load(`${MODEL}\nlimits: { max_queue_size: 5 }`, { env });
    expect(config?.limits).toMatchObject({ maxQueueSize: 5, maxConcurrent: 50, maxModelsConcurrent: 3 });
  });

  it('takes the environment where the file is silent', async () => {
    const { config } = await load(MODEL, { env: { GATEWAY_MAX_QUEUE_SIZE: '7', GATEWAY_MAX_CONCURRENT: '7' } });
    expect(config?.limits.maxQueueSize).toBe(7);
    expect(config?.models.get('m')?.maxQueueSize).toBe(7);
  });

  it('[B191] takes an empty variable for one that is not set', async () => {
    const { config, lines } = await load(MODEL, { env: { GATEWAY_MAX_QUEUE_SIZE: '' } });
    expect(config?.limits.maxQueueSize).toBe(200);
    expect(lines).toEqual([]);
  });

  it('lets a flag go before file and environment', async () => {
    const { config } = await load(`${MODEL}\nserver: { listen: "127.0.0.1:1000" }\nlog: { level: warn }`, {
      env: { GATEWAY_LISTEN: '127.0.0.1:2000', LOG_LEVEL: 'ERROR' },
      flags: { listen: '[::1]:3000', logLevel: 'debug' },
    });
    expect(config?.server.listen).toEqual({ host: '::1', port: 3000 });
    expect(config?.log.level).toBe('debug');
  });

  it('[B193] lists a variable that the file hides as information', async () => {
    const { lines, config } = await load(`${MODEL}\nlimits: { max_queue_size: 60 }\ndefaults: { max_num_seqs: 4 }`, {
      env: { GATEWAY_MAX_QUEUE_SIZE: 'whatever', VLLM_MAX_NUM_SEQS: '8' },
    });
    expect(lines).toEqual([
      'info environment: GATEWAY_MAX_QUEUE_SIZE: has no effect: limits.max_queue_size in gateway.yaml goes before it',
      'info environment: VLLM_MAX_NUM_SEQS: has no effect: defaults.max_num_seqs in gateway.yaml goes before it',
    ]);
    expect(config?.models.get('m')?.maxNumSeqs).toBe(4);
    expect(config?.problems).toEqual([]);
  });

  it('calls a variable of a model hidden only when every model sets the key itself', async () => {
    const model = (more: string): string => `{ repo: a/b, url: "http://127.0.0.1:1"${more} }`;
    const env = { VLLM_MAX_NUM_SEQS: '8' };
    const some = await load(`models: { a: ${model(', max_num_seqs: 4')}, b: ${model('')} }`, { env });
    expect(some.lines).toEqual([]);
    expect([...(some.config?.models.values() ?? [])].map(({ maxNumSeqs }) => maxNumSeqs)).toEqual([4, 8]);
    const all = await load(`models: { a: ${model(', max_num_seqs: 4')}, b: ${model(', max_num_seqs: 5')} }`, { env });
    expect(all.lines).toEqual([
      'info environment: VLLM_MAX_NUM_SEQS: has no effect: models.a.max_num_seqs and that of every other model in gateway.yaml goes before it',
    ]);
  });

  it('takes the stronger of two variables', async () => {
    const env = { GATEWAY_REQUEST_TIMEOUT: '450', GATEWAY_HTTP_TIMEOUT: '100' };
    expect((await load(MODEL, { env })).config?.timeouts).toMatchObject({ firstByte: 450_000, betweenChunks: 450_000 });
    const older = await load(MODEL, { env: { GATEWAY_HTTP_TIMEOUT: '100' } });
    expect(older.config?.timeouts).toMatchObject({ firstByte: 100_000, betweenChunks: 100_000 });
  });

  it('takes the budget fraction from either variable of the original', async () => {
    const both = { GPU_BUDGET_FRACTION: '0.8', VLLM_GPU_MEMORY_UTILIZATION: '0.7' };
    expect((await load(MODEL, { env: both })).config?.devices.budgetFraction).toBe(0.8);
    const { config } = await load(MODEL, { env: { VLLM_GPU_MEMORY_UTILIZATION: '0.7' } });
    expect(config?.devices.budgetFraction).toBe(0.7);
    expect(config?.models.get('m')?.gpuMemoryUtilization).toBe(0.7);
  });

  it('lets the timeouts of a model fall back tier by tier', async () => {
    const { config } = await load(`
timeouts: { request: 100s, first_byte: 90s, stall: 50s }
defaults: { timeouts: { request: 40s, between_chunks: 30s }, keepalive: { after: 3s } }
models:
  a: { repo: a/b, url: "http://h:1", timeouts: { request: 20s, first_byte: null, stall: 5s } }
  b: { repo: a/b, url: "http://h:1" }
`);
    expect(config?.timeouts).toMatchObject({ firstByte: 90_000, betweenChunks: 100_000 });
    expect(config?.models.get('b')?.timeouts).toMatchObject({
      firstByte: 40_000,
      betweenChunks: 30_000,
      stall: 50_000,
    });
    expect(config?.models.get('b')?.keepalive).toEqual({ after: 3_000, every: 15_000 });
    expect(config?.models.get('a')?.timeouts).toMatchObject({ betweenChunks: 20_000, stall: 5_000, connect: 10_000 });
  });

  it('reads max_concurrent: auto as the number of sequences of each model', async () => {
    const { config } = await load(`
limits: { max_concurrent: auto, max_models_concurrent: 2 }
defaults: { url: "http://h:1" }
models:
  a: { repo: a/b, max_num_seqs: 12 }
  b: { repo: a/b, max_num_seqs: 30 }
  c: { repo: a/b, max_concurrent: 5 }
`);
    expect([...(config?.models.values() ?? [])].map(({ maxConcurrent }) => maxConcurrent)).toEqual([12, 30, 5]);
    expect(config?.limits.maxConcurrent).toBe(30);
  });
});

describe('[S1] the three limits from the environment', () => {
  const limits = [
    { name: 'GATEWAY_MAX_QUEUE_SIZE', key: 'maxQueueSize', fallback: 200, max: 10_000 },
    { name: 'GATEWAY_MAX_CONCURRENT', key: 'maxConcurrent', fallback: 50, max: 10_000 },
    { name: 'GATEWAY_MAX_MODELS_CONCURRENT', key: 'maxModelsConcurrent', fallback: 3, max: 100 },
  ] as const;
  const unusable = [
    '0',
    '-1',
    'many',
    '1.5',
    '1e9',
    '99999999999999999999',
    ' ',
    '0x10',
    '1_000',
    '50abc',
    'NaN',
    'null',
  ];

  it.each(limits.flatMap((limit) => unusable.map((value) => ({ ...limit, value }))))(
    '[item 17] [B191] $name="$value" falls back to the default and says so',
    async ({ name, key, fallback, max, value }) => {
      const { config, problems } = await load(MODEL, { env: { [name]: value } });
      expect(config?.limits[key]).toBe(fallback);
      expect(problems).toHaveLength(1);
      const [problem] = problems;
      expect(problem).toMatchObject({ severity: 'error', source: 'environment', path: name });
      expect(problem?.message).toContain(`a whole number from 1 to ${max}`);
      expect(problem?.message).toContain(`the default ${fallback} is used`);
      expect(problem?.message.startsWith(/^-?\d+(\.\d+)?$/.test(value) ? value : JSON.stringify(value))).toBe(true);
      expect(config?.problems).toEqual(problems);
    },
  );

  it.each(limits)('$name takes both ends of its range', async ({ name, key, max }) => {
    for (const value of [1, max]) {
      const { config, problems } = await load(MODEL, { env: { [name]: String(value) } });
      expect(config?.limits[key]).toBe(value);
      expect(problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    }
  });

  it('names all three at once, and refuses them under strict', async () => {
    const env = { GATEWAY_MAX_QUEUE_SIZE: '0', GATEWAY_MAX_CONCURRENT: 'x', GATEWAY_MAX_MODELS_CONCURRENT: '101' };
    const relaxed = await load(MODEL, { env });
    expect(relaxed.problems.map(({ path }) => path)).toEqual(Object.keys(env));
    expect(relaxed.config).not.toBeNull();
    for (const situation of [{ env: { ...env, GATEWAY_STRICT_CONFIG: 'true' } }, { env, flags: { strict: true } }]) {
      const strict = await load(MODEL, situation);
      expect(strict.strict).toBe(true);
      expect(strict.config).toBeNull();
      expect(strict.problems.map(({ path }) => path)).toEqual(Object.keys(env));
      expect(strict.problems.some(({ message }) => message.includes('is used'))).toBe(false);
    }
  });
});

describe('the environment', () => {
  it.each([
    [
      { PLACEMENT_MODE: 'buget' },
      'PLACEMENT_MODE: "buget" is not allowed; allowed: one of budget, whole_card; did you mean "budget"?',
    ],
    [
      { GATEWAY_LISTEN: 'here' },
      'GATEWAY_LISTEN: "here" is not an address to listen on; allowed: HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000',
    ],
    [
      { GATEWAY_AUTH: 'basic' },
      'GATEWAY_AUTH: "basic" is not allowed; allowed: only none; keys are set with GATEWAY_API_KEYS or auth.keys',
    ],
    [
      { LOG_LEVEL: 'inof' },
      'LOG_LEVEL: "inof" is not allowed; allowed: one of trace, debug, info, warn, error; did you mean "info"?',
    ],
    [{ VLLM_ENFORCE_EAGER: 'maybe' }, 'VLLM_ENFORCE_EAGER: "maybe" is not a switch; allowed: true or false'],
    [{ GATEWAY_STRICT_CONFIG: '2' }, 'GATEWAY_STRICT_CONFIG: "2" is not a switch; allowed: true or false'],
    [{ GATEWAY_API_KEYS: 'a,,b' }, 'GATEWAY_API_KEYS: key 2: is blank; separate keys by single commas'],
    [{ GATEWAY_API_KEYS: 'a,b,a' }, 'GATEWAY_API_KEYS: key 3 is the same as key 1; remove one'],
    [{ GATEWAY_ADMIN_KEY: 'file:/nope' }, 'GATEWAY_ADMIN_KEY: the file /nope does not exist'],
  ])('[item 17] refuses what is neither a number nor a duration: %o', async (env, line) => {
    const { config, lines } = await load(MODEL, { env });
    expect(config).toBeNull();
    expect(lines).toEqual([`error environment: ${line}`]);
  });

  it('[item 17] lets every unusable number, duration and size fall back to its default', async () => {
    const { config, problems } = await load(MODEL, {
      env: {
        VLLM_MAX_NUM_SEQS: '0',
        VLLM_GPU_MEMORY_UTILIZATION: '2',
        VLLM_TENSOR_PARALLEL_SIZE: '0',
        VLLM_INACTIVITY_TIMEOUT: '-1',
        VLLM_PORT: '99999',
        BUDGET_OVERHEAD_MIB: '-5',
        BUDGET_OVERHEAD_FACTOR: '0.5',
        GATEWAY_CONNECT_TIMEOUT: 'soon',
        GATEWAY_MAX_BODY_SIZE: '12',
        GATEWAY_LOADING_TIMEOUT: 'never',
      },
    });
    expect(problems.map(({ severity }) => severity)).toEqual(Array(10).fill('error'));
    expect(config?.models.get('m')).toMatchObject({ maxNumSeqs: 16, gpuMemoryUtilization: 0.9, tensorParallelSize: 1 });
    expect(config?.models.get('m')).toMatchObject({ inactivityTimeout: 1_800_000, startTimeout: 3_900_000 });
    expect(config?.drivers.docker).toMatchObject({ port: 8000 });
    expect(config?.memory).toMatchObject({ overhead: 1024 ** 3, overheadFactor: 1.1 });
    expect(config?.timeouts.connect).toBe(10_000);
  });

  it('says why a variable of the original sets nothing any more, once each', async () => {
    const { lines } = await load(MODEL, {
      env: { VLLM_SWAP_SPACE: '4', GATEWAY_REQUEST_STALE_FACTOR: '2' },
    });
    expect(lines).toEqual([
      'warning environment: VLLM_SWAP_SPACE: has no effect any more: vLLM dropped --swap-space; an engine that still has it takes it through extra_args; remove it',
      'warning environment: GATEWAY_REQUEST_STALE_FACTOR: has no effect any more: running requests are counted exactly, so there are no stale ones to write off; remove it',
    ]);
  });

  it('[B192] notices a slip of the pen, and leaves the links of a Kubernetes service alone', async () => {
    const { lines } = await load(MODEL, {
      env: {
        GATEWAY_MAX_QUEUE_SIZ: '3',
        GATEWAY_INTERFACE: 'CGI/1.1',
        GATEWAY_PORT_9000_TCP: 'tcp://1',
        GATEWAY_URL: 'x',
      },
    });
    expect(lines).toEqual([
      'info environment: GATEWAY_INTERFACE: is not a variable of the gateway',
      'warning environment: GATEWAY_MAX_QUEUE_SIZ: is not a variable of the gateway; did you mean GATEWAY_MAX_QUEUE_SIZE?',
    ]);
  });
});

describe('which file is read', () => {
  const other = 'models: { other: { repo: a/b, url: "http://h:1" } }';
  const names = async (...input: Parameters<typeof load>): Promise<readonly string[]> => [
    ...((await load(...input)).config?.models.keys() ?? []),
  ];

  it('goes from --config over both variables to the two fixed places', async () => {
    const files = {
      '/flag.yaml': other.replace('other', 'flag'),
      '/own.yaml': other.replace('other', 'own'),
      '/legacy.yaml': other.replace('other', 'legacy'),
      '/app/config/models.yaml': other.replace('other', 'image'),
    };
    const env = { GATEWAY_CONFIG_FILE: '/own.yaml', MODELS_CONFIG_FILE: '/legacy.yaml' };
    expect(await names(MODEL, { files, env, flags: { config: '/flag.yaml' } })).toEqual(['flag']);
    expect(await names(MODEL, { files, env })).toEqual(['own']);
    expect(await names(MODEL, { files, env: { MODELS_CONFIG_FILE: '/legacy.yaml' } })).toEqual(['legacy']);
    expect(await names(MODEL, { files })).toEqual(['m']);
    expect(await names(undefined, { files })).toEqual(['image']);
    expect(await names(undefined, { env: LEGACY })).toEqual(['tiny']);
  });

  it('looks for a relative path below the folder it was started in, and reports it as given', async () => {
    const { config } = await load(undefined, {
      flags: { config: 'sub/x.yaml' },
      files: { '/work-folder/sub/x.yaml': other },
    });
    expect(config?.source).toBe('sub/x.yaml');
  });

  it('[B175] refuses when --config or GATEWAY_CONFIG_FILE names an absent file, whatever else is there', async () => {
    const flag = await load(MODEL, { flags: { config: 'nope.yaml' } });
    expect(flag.config).toBeNull();
    expect(flag.lines).toEqual([
      'error flags: --config: names nope.yaml, which does not exist (looked for /work-folder/nope.yaml); give the path of a configuration file',
    ]);
    const variable = await load(MODEL, { env: { GATEWAY_CONFIG_FILE: '/nope.yaml' } });
    expect(variable.config).toBeNull();
    expect(variable.lines).toEqual([
      'error environment: GATEWAY_CONFIG_FILE: names /nope.yaml, which does not exist (looked for /nope.yaml); create it, or unset GATEWAY_CONFIG_FILE',
    ]);
  });

  it('falls back when MODELS_CONFIG_FILE names an absent file, as the original did', async () => {
    const usual = await load(undefined, { env: { ...LEGACY, MODELS_CONFIG_FILE: '/app/config/models.yaml' } });
    expect([...(usual.config?.models.keys() ?? [])]).toEqual(['tiny']);
    expect(usual.problems.map(({ severity }) => severity)).toEqual(['info']);
    const slip = await load(undefined, { env: { ...LEGACY, MODELS_CONFIG_FILE: '/cofig/models.yaml' } });
    expect([...(slip.config?.models.keys() ?? [])]).toEqual(['tiny']);
    expect(slip.problems.map(({ severity }) => severity)).toEqual(['warning']);
  });

  it('[item 25] tells what a folder at the path of the file means', async () => {
    const folder = { kind: 'folder' } as const;
    const named = await load(MODEL, { flags: { config: '/f' }, files: { '/f': folder } });
    expect(named.config).toBeNull();
    expect(named.lines).toEqual([
      'error /f: is a folder, not a file; Docker creates an empty folder when the file to mount is missing on the host: remove the folder, create the file, and start again',
    ]);
    const original = await load(undefined, { env: LEGACY, files: { '/app/config/models.yaml': folder } });
    expect([...(original.config?.models.keys() ?? [])]).toEqual(['tiny']);
    expect(original.problems.map(({ severity, code }) => [severity, code])).toEqual([['warning', 'is_folder']]);
  });

  it('refuses to run without a model and says the three ways to name one', async () => {
    for (const env of [{}, { ALLOWED_MODELS_JSON: '' }, { ALLOWED_MODELS_JSON: '{}' }]) {
      const { config, lines } = await load(undefined, { env });
      expect(config).toBeNull();
      expect(lines).toEqual([
        'error configuration: no model is configured; three ways: write models into ./gateway.yaml, name a file with --config FILE or GATEWAY_CONFIG_FILE, or set ALLOWED_MODELS_JSON=\'{"llama": "meta-llama/Llama-3.1-8B-Instruct"}\'',
      ]);
    }
  });
});

describe('strict', () => {
  it('[item 8] turns an unbounded length from a warning into a refusal', async () => {
    const file = 'drivers: { default: process }\nmodels: { a: { repo: a/b }, b: { repo: a/b } }';
    const relaxed = await load(file);
    expect(relaxed.problems.map(({ severity, path, line }) => [severity, path, line])).toEqual([
      ['warning', 'models.a.max_model_len', 2],
      ['warning', 'models.b.max_model_len', 2],
    ]);
    expect(relaxed.config?.models.size).toBe(2);
    expect((await load(file, { flags: { strict: true } })).config).toBeNull();
  });

  it('lets information pass', async () => {
    const { config } = await load(`${MODEL}\nlimits: { max_queue_size: 60 }`, {
      env: { GATEWAY_MAX_QUEUE_SIZE: '9' },
      flags: { strict: true },
    });
    expect(config?.limits.maxQueueSize).toBe(60);
  });
});

describe('the result', () => {
  it('is frozen to the last leaf', async () => {
    const { config } = await load(MODEL);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config?.limits)).toBe(true);
    expect(Object.isFrozen(config?.models.get('m')?.timeouts)).toBe(true);
  });

  it('stops the engines of a demo with it', async () => {
    expect((await load(MODEL, { demo: true })).config?.server.onShutdown).toBe('stop');
    expect((await load(MODEL)).config?.server.onShutdown).toBe('auto');
    expect((await load(MODEL)).config?.source).toBe(FILE);
  });
});
