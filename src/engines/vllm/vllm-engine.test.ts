import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { modelConfig } from '../../../test/support/model-config.ts';
import type { LaunchShare } from '../../core/launch.ts';
import { GIB } from '../../units.ts';
import type { LaunchContext } from '../engine.ts';
import { engineOf } from '../registry.ts';
import { fillTemplate } from '../engine.ts';
import { mergeArgs } from '../../config/merge-args.ts';

const engine = engineOf('vllm');

const SHARE: LaunchShare = { tensorParallel: 1, utilization: 0.9, kvCacheBytes: null, maxModelLen: 8192 };

function context(more: Partial<LaunchContext> = {}): LaunchContext {
  return {
    model: modelConfig(),
    command: ['vllm'],
    host: '127.0.0.1',
    port: 20_001,
    engineKey: 'vgw-key',
    devices: [],
    share: SHARE,
    image: null,
    ...more,
  };
}

const device = (reserved: number, total: number, uuid: string | null = null): LaunchContext['devices'][number] => ({
  id: `gpu-${reserved}`,
  uuid,
  totalBytes: total * GIB,
  reservedBytes: reserved * GIB,
});

function flag(argv: readonly string[], name: string): string | undefined {
  const at = argv.indexOf(name);
  return at < 0 ? undefined : argv[at + 1];
}

describe('launch of vLLM', () => {
  it('serves the repo under the canonical name, on the loopback port that it was given [items 89, 91]', () => {
    const spec = engine.launchSpec(context());
    expect(spec.argv).toEqual([
      'vllm',
      'serve',
      'meta-llama/Llama-3.1-8B-Instruct',
      ...['--host', '127.0.0.1', '--port', '20001', '--served-model-name', 'llama-8b'],
      ...['--gpu-memory-utilization', '0.9', '--tensor-parallel-size', '1', '--max-num-seqs', '16'],
      ...['--max-model-len', '8192'],
      ...['--disable-uvicorn-access-log', '--enable-request-id-headers'],
    ]);
    expect(spec).toMatchObject({ host: '127.0.0.1', port: 20_001, url: null });
    expect(engine.servedName(modelConfig())).toBe('llama-8b');
  });

  it('passes quantization, dtype and the rest only when they are set [item 90]', () => {
    const { argv } = engine.launchSpec(
      context({
        model: modelConfig({
          repo: 'openai/gpt-oss-20b',
          quantization: 'awq',
          dtype: 'half',
          enforceEager: true,
          maxModelLen: 0,
        }),
        share: { ...SHARE, tensorParallel: 2, maxModelLen: null },
      }),
    );
    expect(flag(argv, '--quantization')).toBe('awq');
    expect(flag(argv, '--dtype')).toBe('half');
    expect(flag(argv, '--tensor-parallel-size')).toBe('2');
    expect(argv).toContain('--enforce-eager');
    expect(argv).toContain('--async-scheduling');
    expect(argv).not.toContain('--max-model-len');
  });

  it('never tells vLLM to keep its numbers to itself or to drain by itself', () => {
    const { argv } = engine.launchSpec(context());
    expect(argv).not.toContain('--disable-log-stats');
    expect(argv).not.toContain('--shutdown-timeout');
    expect(argv).not.toContain('--api-key');
  });

  it('uses only flags that vLLM 0.32 has', () => {
    const model = modelConfig({
      repo: 'openai/gpt-oss-20b',
      quantization: 'mxfp4',
      dtype: 'bfloat16',
      enforceEager: true,
    });
    const known = readFileSync(new URL('../../../tools/fake-vllm/flags.ts', import.meta.url), 'utf8');
    for (const image of ['vllm/vllm-openai:v0.32.0', null]) {
      const share = { ...SHARE, kvCacheBytes: GIB };
      const flags = engine.launchSpec(context({ model, image, share })).argv.filter((word) => word.startsWith('--'));
      expect(flags.filter((name) => !new RegExp(`[\\s\`]${name.slice(2)}[\\s=]`).test(known))).toEqual([]);
    }
  });

  it('takes the share of the memory that the plan gives it, else what its model is configured with [item 112]', () => {
    const share = (utilization: number | null): string | undefined =>
      flag(engine.launchSpec(context({ share: { ...SHARE, utilization } })).argv, '--gpu-memory-utilization');
    expect(share(0.8333)).toBe('0.8333');
    expect(share(null)).toBe('0.9');
  });

  it('reads as far as the plan says, else as far as its model is configured to [item 89]', () => {
    const length = (planned: number | null, configured: number): string | undefined =>
      flag(
        engine.launchSpec(
          context({ model: modelConfig({ maxModelLen: configured }), share: { ...SHARE, maxModelLen: planned } }),
        ).argv,
        '--max-model-len',
      );
    expect(length(2048, 8192)).toBe('2048');
    expect(length(null, 8192)).toBe('8192');
    expect(length(null, 0)).toBeUndefined();
  });

  it('takes the KV cache that was measured, beside a share that is always free, where the version can', () => {
    const share = { ...SHARE, utilization: 0.5, kvCacheBytes: 4 * GIB };
    const flags = (more: Partial<LaunchContext>): readonly (string | undefined)[] => {
      const { argv } = engine.launchSpec(context({ share, ...more }));
      return [flag(argv, '--gpu-memory-utilization'), flag(argv, '--kv-cache-memory-bytes')];
    };
    // Never a creeping size: what the engine says of it has the same figures as what it was measured with.
    const exact = ['0.01', String(4 * GIB + Math.floor(0.0049 * GIB))];
    expect((Number(exact[1]) / GIB).toFixed(2)).toBe('4.00');
    expect(flags({ image: 'vllm/vllm-openai:v0.16.0' })).toEqual(exact);
    expect(flags({ image: 'vllm/vllm-openai:latest' })).toEqual(exact);
    expect(flags({ version: '0.23.1' })).toEqual(exact);
    expect(flags({ command: ['simulated-vllm'] })).toEqual(exact);
    expect(flags({ image: 'vllm/vllm-openai:v0.10.2' })).toEqual(['0.5', undefined]);
    expect(flags({ version: '0.10.2' })).toEqual(['0.5', undefined]);
    expect(flags({})).toEqual(['0.5', undefined]);
  });

  it('is told to log no probes in the words of its version [item 95]', () => {
    const quiet = (image: string | null): readonly string[] =>
      engine.launchSpec(context({ image })).argv.filter((word) => word.startsWith('--disable-'));
    expect(quiet('vllm/vllm-openai:v0.16.0')).toEqual(['--disable-access-log-for-endpoints']);
    expect(quiet('vllm/vllm-openai:v0.15.1')).toEqual(['--disable-uvicorn-access-log']);
    expect(quiet(null)).toEqual(['--disable-uvicorn-access-log']);
  });

  it('hands out devices by uuid, and only when every one of them has one [item 92]', () => {
    const env = (...devices: LaunchContext['devices'][number][]): Readonly<Record<string, string>> =>
      engine.launchSpec(context({ devices })).env;
    expect(env(device(1, 2, 'GPU-a'), device(1, 2, 'GPU-b'))).toMatchObject({
      CUDA_VISIBLE_DEVICES: 'GPU-a,GPU-b',
      CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
    });
    expect(env(device(1, 2, 'GPU-a'), device(1, 2))).not.toHaveProperty('CUDA_VISIBLE_DEVICES');
    expect(env()).not.toHaveProperty('CUDA_VISIBLE_DEVICES');
  });

  it('gives a container its devices by request, and names none inside, where CUDA counts anew [item 92]', () => {
    const spec = engine.launchSpec(
      context({
        model: modelConfig({ driver: 'docker', volumes: ['/srv/models:/models:ro'], shmSize: GIB, command: null }),
        image: 'vllm/vllm-openai:v0.16.0',
        command: ['/opt/vllm/bin/vllm'],
        host: '0.0.0.0',
        port: 8000,
        devices: [device(1, 2, 'GPU-a'), device(1, 2, 'GPU-b')],
      }),
    );
    expect(spec.deviceUuids).toEqual(['GPU-a', 'GPU-b']);
    expect(spec.env).not.toHaveProperty('CUDA_VISIBLE_DEVICES');
    expect(spec.env).toMatchObject({ NVIDIA_VISIBLE_DEVICES: 'GPU-a,GPU-b' });
    expect(spec.container).toEqual({
      image: 'vllm/vllm-openai:v0.16.0',
      volumes: ['/srv/models:/models:ro'],
      shmSize: GIB,
    });
    expect(spec.argv.slice(0, 3)).toEqual(['vllm', 'serve', 'meta-llama/Llama-3.1-8B-Instruct']);
    expect(flag(spec.argv, '--host')).toBe('0.0.0.0');
    expect(flag(spec.argv, '--port')).toBe('8000');
  });

  it('gets the token of the hub only when it has something to get there [item 92]', () => {
    const env = (model: Parameters<typeof modelConfig>[0]): Readonly<Record<string, string>> =>
      engine.launchSpec(context({ model: modelConfig(model), hubToken: 'hf_gateway' })).env;
    expect(env({})).toMatchObject({ HF_TOKEN: 'hf_gateway', HUGGING_FACE_HUB_TOKEN: 'hf_gateway' });
    expect(env({ env: { HF_TOKEN: 'hf_own' } })).toMatchObject({
      HF_TOKEN: 'hf_own',
      HUGGING_FACE_HUB_TOKEN: 'hf_own',
    });
    expect(env({ repo: '/models/llama', extraArgs: ['--tokenizer', 'a/b'] })).toHaveProperty('HF_TOKEN');
    for (const model of [{ repo: '/models/llama' }, { repo: 's3://bucket/llama' }, { env: { HF_HUB_OFFLINE: '1' } }]) {
      expect(env(model)).not.toHaveProperty('HF_TOKEN');
      expect(env(model)).not.toHaveProperty('HUGGING_FACE_HUB_TOKEN');
    }
  });

  it('loads GGUF with a tokenizer that is known to be there, else with the one inside [items 91, 132]', () => {
    const argv = (tokenizer: string | null, extraArgs: readonly string[] = []): readonly string[] =>
      engine.launchSpec(
        context({ model: modelConfig({ repo: 'unsloth/Qwen3-0.6B-GGUF:Q4_K_M', extraArgs }), tokenizer }),
      ).argv;
    expect(argv(null)).toContain('unsloth/Qwen3-0.6B-GGUF:Q4_K_M');
    expect(argv(null)).not.toContain('--tokenizer');
    expect(flag(argv('Qwen/Qwen3-0.6B'), '--tokenizer')).toBe('Qwen/Qwen3-0.6B');
    expect(
      argv('Qwen/Qwen3-0.6B', ['--tokenizer=mine/tokens']).filter((word) => word.startsWith('--tokenizer')),
    ).toEqual(['--tokenizer=mine/tokens']);
    expect(flag(argv(null), '--served-model-name')).toBe('llama-8b');
  });

  it('refuses GGUF with a reason where the version has none, and only there [item 130]', () => {
    const refusal = (repo: string, image: string | null): string | undefined =>
      engine.refusal(modelConfig({ repo }), image)?.message;
    expect(refusal('a/b-GGUF:Q8_0', 'vllm/vllm-openai:v0.24.0')).toContain('vllm-gguf-plugin');
    expect(refusal('/models/a.gguf', 'vllm/vllm-openai:v0.30.1')).toContain('vllm-gguf-plugin');
    expect(refusal('a/b-GGUF:Q8_0', 'vllm/vllm-openai:v0.11.0')).toContain('only from a file');
    expect(refusal('/models/a.gguf', 'vllm/vllm-openai:v0.11.0')).toBeUndefined();
    expect(refusal('a/b-GGUF:Q8_0', 'vllm/vllm-openai:v0.16.0')).toBeUndefined();
    // Nobody knows what is in these.
    expect(refusal('a/b-GGUF:Q8_0', 'mine/vllm-with-plugin:latest')).toBeUndefined();
    expect(refusal('a/b-GGUF:Q8_0', null)).toBeUndefined();
    expect(refusal('gguf-fans/llama', 'vllm/vllm-openai:v0.30.1')).toBeUndefined();
    // A file of a repository by its name, and a repository of which nobody knows which file.
    expect(refusal('a/b-GGUF/x.gguf', 'vllm/vllm-openai:v0.11.0')).toBeUndefined();
    expect(refusal('a/b-GGUF', null)).toContain('a/b-GGUF:Q4_K_M');
  });

  it("gives the engine its own key, keeps its sockets open, and lets the model's variables win elsewhere", () => {
    const model = modelConfig({
      env: {
        VLLM_API_KEY: 'mine',
        VLLM_HTTP_TIMEOUT_KEEP_ALIVE: '5',
        NO_COLOR: '0',
        HUGGING_FACE_HUB_TOKEN: 'hf_x',
        WHERE: '${host}:${port}/${model}',
      },
    });
    expect(engine.launchSpec(context({ model })).env).toEqual({
      VLLM_API_KEY: 'vgw-key',
      VLLM_HTTP_TIMEOUT_KEEP_ALIVE: '75',
      VLLM_NO_USAGE_STATS: '1',
      VLLM_ALLOW_LONG_MAX_MODEL_LEN: '1',
      DO_NOT_TRACK: '1',
      NO_COLOR: '0',
      HUGGING_FACE_HUB_TOKEN: 'hf_x',
      HF_TOKEN: 'hf_x',
      WHERE: '127.0.0.1:20001/llama-8b',
    });
  });

  it("replaces the command by the model's own, templates filled in", () => {
    const model = modelConfig({ command: ['wrap', '--on=${devices}', 'vllm'] });
    const { argv } = engine.launchSpec(context({ model, devices: [device(1, 2, 'GPU-a')] }));
    expect(argv.slice(0, 4)).toEqual(['wrap', '--on=GPU-a', 'vllm', 'serve']);
  });

  it('points to a server that somebody else runs', () => {
    const model = modelConfig({ driver: 'external', url: 'http://gpu.example/api' });
    expect(engine.launchSpec(context({ model }))).toMatchObject({
      argv: [],
      port: null,
      url: 'http://gpu.example/api',
    });
    expect(engine.servedName(model)).toBe(model.repo);
  });
});

describe('extra arguments', () => {
  const generated = ['--max-num-seqs', '16', '--enforce-eager', '--dtype', 'half', '--quantization', 'awq'];
  it.each([
    [
      ['--max-num-seqs', '4'],
      ['--enforce-eager', '--dtype', 'half', '--quantization', 'awq'],
    ],
    [['--max_num_seqs=4'], ['--enforce-eager', '--dtype', 'half', '--quantization', 'awq']],
    [['--no-enforce-eager'], ['--max-num-seqs', '16', '--dtype', 'half', '--quantization', 'awq']],
    [
      ['-q', 'gptq'],
      ['--max-num-seqs', '16', '--enforce-eager', '--dtype', 'half'],
    ],
    [
      ['--quant', 'gptq'],
      ['--max-num-seqs', '16', '--enforce-eager', '--dtype', 'half'],
    ],
    [['--seed', '-1', '--rope', '--max-num-seqs-x'], generated],
    [[], generated],
  ])('%j take the place of generated ones, once [item 10]', (extra, kept) => {
    expect(mergeArgs(generated, extra)).toEqual([...kept, ...extra]);
  });
});

describe('templates', () => {
  it('fill in what is known, and leave what is escaped', () => {
    expect(fillTemplate('--port ${port} $${port} ${devices}', { port: 20_001 })).toBe(
      '--port 20001 ${port} ${devices}',
    );
  });
});
