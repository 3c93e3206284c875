/** What the original's own configuration tests asserted, by its numbers; 19 is about learned footprints. */
import { describe, expect, it } from 'vitest';
import { load, type Situation } from '../../test/support/load-config.ts';
import type { ModelConfig } from './config.ts';

/** Models without a driver of their own are the docker driver's, as every model of the original was. */
async function models(yaml: string, situation: Situation = {}): Promise<Readonly<Record<string, ModelConfig>>> {
  const { config, lines } = await load(yaml, situation);
  expect(lines.filter((line) => line.startsWith('error'))).toEqual([]);
  return Object.fromEntries(config?.models ?? []);
}

async function errors(yaml: string, situation: Situation = {}): Promise<readonly string[]> {
  const { problems } = await load(yaml, situation);
  return problems.filter(({ severity }) => severity === 'error').map(({ path }) => path);
}

describe("the original's tests", () => {
  it('1. a key of the model goes before defaults, and defaults before the environment [item 1]', async () => {
    const env = { VLLM_MAX_NUM_SEQS: '3', VLLM_MAX_MODEL_LEN_GLOBAL: '3000', VLLM_TENSOR_PARALLEL_SIZE: '2' };
    const found = await models(
      'defaults: { max_num_seqs: 5, max_model_len: 5000 }\nmodels: { m: { repo: a/b, max_num_seqs: 7 } }',
      { env },
    );
    expect(found['m']).toMatchObject({ maxNumSeqs: 7, maxModelLen: 5000, tensorParallelSize: 2, dtype: 'auto' });
  });

  it('2. the repo is kept as written, without blanks around it', async () => {
    expect((await models('models: { m: { repo: " Qwen/Qwen3-8B " } }'))['m']?.repo).toBe('Qwen/Qwen3-8B');
  });

  it('3. lists are never shared between models [item 5]', async () => {
    const found = await models(
      'defaults: { extra_args: [--x] }\nmodels: { a: { repo: a/b }, b: { repo: a/b, extra_args: [] } }',
    );
    expect(found['a']?.extraArgs).toEqual(['--x']);
    expect(found['b']?.extraArgs).toEqual([]);
    // Nobody can change what both read.
    expect(Object.isFrozen(found['a']?.extraArgs)).toBe(true);
  });

  it.each([
    ['a missing repo', 'models: { m: {} }', 'models.m.repo'],
    ['a blank repo', 'models: { m: { repo: "" } }', 'models.m.repo'],
    ['an unknown key of a model', 'models: { m: { repo: a/b, frobnicate: 1 } }', 'models.m.frobnicate'],
    ['an unknown key of defaults', 'defaults: { frobnicate: 1 }\nmodels: { m: { repo: a/b } }', 'defaults.frobnicate'],
    ['an unknown section', 'frobnicate: 1\nmodels: { m: { repo: a/b } }', 'frobnicate'],
    ['empty models', 'models: {}', 'models'],
    ['missing models', 'defaults: {}', 'models'],
    ['a share of 1.5', 'models: { m: { repo: a/b, gpu_memory_utilization: 1.5 } }', 'models.m.gpu_memory_utilization'],
    ['text for a number', 'models: { m: { repo: a/b, max_model_len: long } }', 'models.m.max_model_len'],
    [
      'a switch for a number',
      'models: { m: { repo: a/b, tensor_parallel_size: true } }',
      'models.m.tensor_parallel_size',
    ],
    ['arguments that are no list', 'models: { m: { repo: a/b, extra_args: --x } }', 'models.m.extra_args'],
  ])('4. refuses %s [items 2, 3, 4]', async (_, yaml, path) => {
    expect(await errors(yaml)).toEqual([path]);
  });

  it('5. the legacy map gives every model the built-in values of the environment [item 6]', async () => {
    const { config } = await load(undefined, {
      env: { ALLOWED_MODELS_JSON: '{"a":"x/a","b":"x/b"}', VLLM_MAX_NUM_SEQS: '9', VLLM_MAX_MODEL_LEN_GLOBAL: '4096' },
    });
    expect(
      [...(config?.models.values() ?? [])].map(({ name, repo, maxNumSeqs, maxModelLen }) => [
        name,
        repo,
        maxNumSeqs,
        maxModelLen,
      ]),
    ).toEqual([
      ['a', 'x/a', 9, 4096],
      ['b', 'x/b', 9, 4096],
    ]);
  });

  it('6. request_defaults are replaced whole, and an empty mapping clears them [item 23]', async () => {
    const found = await models(
      'defaults: { request_defaults: { a: 1, b: 2 } }\n' +
        'models: { x: { repo: a/b }, y: { repo: a/b, request_defaults: { c: [3] } }, z: { repo: a/b, request_defaults: {} } }',
    );
    expect([...(found['x']?.requestDefaults ?? [])]).toEqual([
      ['a', '1'],
      ['b', '2'],
    ]);
    expect([...(found['y']?.requestDefaults ?? [])]).toEqual([['c', '[3]']]);
    expect(found['z']?.requestDefaults.size).toBe(0);
  });

  it('7. nested request_defaults keep their shape and are text nobody can change [item 5]', async () => {
    const found = await models(
      'models: { m: { repo: a/b, request_defaults: { chat_template_kwargs: { enable_thinking: false, n: [1, null, "x"] } } } }',
    );
    expect(found['m']?.requestDefaults.get('chat_template_kwargs')).toBe('{"enable_thinking":false,"n":[1,null,"x"]}');
  });

  it('8. request_defaults must be a mapping without model [item 23]', async () => {
    expect(await errors('models: { m: { repo: a/b, request_defaults: [1] } }')).toEqual(['models.m.request_defaults']);
    expect(await errors('models: { m: { repo: a/b, request_defaults: { model: x } } }')).toEqual([
      'models.m.request_defaults.model',
    ]);
    expect(await errors('models: { m: { repo: a/b, request_defaults: { Model: x } } }')).toEqual([
      'models.m.request_defaults.Model',
    ]);
  });

  it('9. request_defaults reach the request scanner as JSON text, so that merging cannot change them [item 23]', async () => {
    const text = 'a "quoted" \\ text\nwith ünïcode';
    const found = await models(`models: { m: { repo: a/b, request_defaults: { stop: ${JSON.stringify(text)} } } }`);
    expect(JSON.parse(found['m']?.requestDefaults.get('stop') ?? '')).toBe(text);
  });

  it('10. pools are optional, and valid ones are kept [item 11]', async () => {
    const { config } = await load('models: { m: { repo: a/b } }');
    expect(config?.pools.size).toBe(0);
    const with_ = await load('pools: { p: [GPU-1, GPU-2] }\nmodels: { m: { repo: a/b, pool: p } }');
    expect([...(with_.config?.pools ?? [])]).toEqual([['p', ['GPU-1', 'GPU-2']]]);
  });

  it.each([
    ['no pools', 'pools: {}', 'pools'],
    ['an empty pool', 'pools: { p: [] }', 'pools.p'],
    ['a blank UUID', 'pools: { p: [GPU-1, " "] }', 'pools.p[1]'],
    ['a UUID in two pools', 'pools: { p: [GPU-1], q: [GPU-1] }', 'pools.q[0]'],
    ['a UUID twice in one', 'pools: { p: [GPU-1, GPU-1] }', 'pools.p[1]'],
  ])('11. refuses %s [item 11]', async (_, pools, path) => {
    expect(await errors(`${pools}\nmodels: { m: { repo: a/b, pool: p } }`)).toEqual([path]);
  });

  it('12. the pool of a model goes before that of defaults [items 1, 12]', async () => {
    const found = await models(
      'pools: { p: [GPU-1], q: [GPU-2] }\ndefaults: { pool: p }\nmodels: { a: { repo: a/b }, b: { repo: a/b, pool: q } }',
    );
    expect([found['a']?.pool, found['b']?.pool]).toEqual(['p', 'q']);
  });

  it('13. an undeclared pool is refused, and without any pools it is ignored with a warning [item 13]', async () => {
    expect(await errors('pools: { p: [GPU-1] }\nmodels: { m: { repo: a/b, pool: x } }')).toEqual(['models.m.pool']);
    const { config, problems } = await load('models: { m: { repo: a/b, pool: x, max_model_len: 1 } }');
    expect(config?.models.get('m')?.pool).toBeNull();
    expect(problems.map(({ severity, path, code }) => [severity, path, code])).toEqual([
      ['warning', 'models.m.pool', 'unused'],
    ]);
  });

  it('14. a model without a pool is refused beside pools, unless defaults name one [item 12]', async () => {
    const pools = 'pools: { p: [GPU-1] }\n';
    expect(await errors(`${pools}models: { m: { repo: a/b } }`)).toEqual(['models.m.pool']);
    expect(await errors(`${pools}defaults: { pool: p }\nmodels: { m: { repo: a/b } }`)).toEqual([]);
    expect(await errors(`${pools}models: { m: { repo: a/b, url: "http://h:1" } }`)).toEqual([]);
  });

  it('15. tensor parallel beyond the pool is refused, and unchecked where the devices are unknown [item 14]', async () => {
    expect(
      await errors('pools: { p: [GPU-1] }\nmodels: { m: { repo: a/b, pool: p, tensor_parallel_size: 2 } }'),
    ).toEqual(['models.m.tensor_parallel_size']);
    expect(await errors('models: { m: { repo: a/b, tensor_parallel_size: 8 } }')).toEqual([]);
  });

  it('16. colocate follows the same order and is a strict switch [items 1, 4]', async () => {
    const found = await models(
      'defaults: { colocate: true }\nmodels: { a: { repo: a/b }, b: { repo: a/b, colocate: false } }',
    );
    expect([found['a']?.colocate, found['b']?.colocate]).toEqual([true, false]);
    expect(await errors('models: { m: { repo: a/b, colocate: 1 } }')).toEqual(['models.m.colocate']);
  });

  it('17. colocate with tensor parallel is refused, and a large share of it warned about [item 14]', async () => {
    expect(await errors('models: { m: { repo: a/b, colocate: true, tensor_parallel_size: 2 } }')).toEqual([
      'models.m.colocate',
    ]);
    const { problems } = await load(
      'models: { m: { repo: a/b, max_model_len: 1, colocate: true, gpu_memory_utilization: 0.95 } }',
    );
    expect(problems.map(({ severity, path }) => [severity, path])).toEqual([
      ['warning', 'models.m.gpu_memory_utilization'],
    ]);
  });

  it('18. a device that is not there is refused by name, with those that are [item 15]', async () => {
    const { problems } = await load(
      'devices: { probe: static, list: [{ id: gpu-0, memory: 24GiB, uuid: GPU-1 }] }\npools: { p: [GPU-9] }\nmodels: { m: { repo: a/b, pool: p, max_model_len: 1 } }',
    );
    expect(problems.map(({ path, message }) => [path, message])).toEqual([
      ['pools.p[0]', '"GPU-9" is not in devices.list; allowed: gpu-0, GPU-1; did you mean "GPU-1"?'],
    ]);
  });

  it('20. max_num_seqs follows the same order; 0 and switches are refused [items 1, 4, 160]', async () => {
    expect(await errors('models: { m: { repo: a/b, max_num_seqs: 0 } }')).toEqual(['models.m.max_num_seqs']);
    expect(await errors('models: { m: { repo: a/b, max_num_seqs: true } }')).toEqual(['models.m.max_num_seqs']);
    const { config, problems } = await load('models: { m: { repo: a/b, max_model_len: 1 } }', {
      env: { VLLM_MAX_NUM_SEQS: '0' },
    });
    expect(config?.models.get('m')?.maxNumSeqs).toBe(16);
    expect(problems.map(({ severity, path }) => [severity, path])).toEqual([['error', 'VLLM_MAX_NUM_SEQS']]);
  });

  it('21. budget mode asks for a bounded length and names every offender; whole_card does not [item 8]', async () => {
    const yaml = 'models: { a: { repo: a/b }, b: { repo: a/b, max_model_len: 4096 }, c: { repo: a/b } }';
    const budget = await load(yaml);
    expect(budget.problems.map(({ severity, path, code }) => [severity, path, code])).toEqual([
      ['warning', 'models.a.max_model_len', 'unbounded_length'],
      ['warning', 'models.c.max_model_len', 'unbounded_length'],
    ]);
    expect((await load(yaml, { env: { PLACEMENT_MODE: 'whole_card' } })).problems).toEqual([]);
    const declared = await load('models: { a: { repo: a/b, memory: 8GiB } }');
    expect(declared.problems).toEqual([]);
  });

  it('22. kv_reservation_seqs is null, or at least one [item 24]', async () => {
    const found = await models(
      'defaults: { kv_reservation_seqs: 4 }\nmodels: { a: { repo: a/b, kv_reservation_seqs: null }, b: { repo: a/b } }',
    );
    expect([found['a']?.kvReservationSeqs, found['b']?.kvReservationSeqs]).toEqual([null, 4]);
    expect([found['a']?.maxNumSeqs, found['b']?.maxNumSeqs]).toEqual([16, 16]);
    expect(await errors('models: { m: { repo: a/b, kv_reservation_seqs: 0 } }')).toEqual([
      'models.m.kv_reservation_seqs',
    ]);
  });

  it('23. two profiles of one repo are two models [item 22]', async () => {
    const found = await models(
      'models: { short: { repo: a/b, max_model_len: 1024 }, long: { repo: a/b, max_model_len: 65536 } }',
    );
    expect([found['short']?.repo, found['long']?.repo]).toEqual(['a/b', 'a/b']);
    expect([found['short']?.maxModelLen, found['long']?.maxModelLen]).toEqual([1024, 65536]);
  });

  it.each([
    '--max-model-len=4096',
    '--max_num_seqs',
    '--kv-cache-dtype=fp8',
    '--gpu-memory-utilization=0.99',
    '--max-num-seq',
  ])('24. budget mode refuses %s among the arguments [item 9]', async (flag) => {
    const yaml = `models: { m: { repo: a/b, max_model_len: 1, extra_args: [--enable-prefix-caching, "${flag}"] } }`;
    expect(await errors(yaml)).toEqual(['models.m.extra_args[1]']);
  });

  it('24. budget mode takes harmless arguments, and whole_card takes lengths and types too [item 9]', async () => {
    const harmless =
      'models: { m: { repo: a/b, max_model_len: 1, extra_args: [--enable-prefix-caching, --max-num-batched-tokens, 4096] } }';
    expect((await models(harmless))['m']?.extraArgs).toEqual([
      '--enable-prefix-caching',
      '--max-num-batched-tokens',
      '4096',
    ]);
    const lengths = 'models: { m: { repo: a/b, extra_args: [--max-model-len, 4096, --kv-cache-dtype=fp8] } }';
    expect(await errors(lengths, { env: { PLACEMENT_MODE: 'whole_card' } })).toEqual([]);
  });
});
