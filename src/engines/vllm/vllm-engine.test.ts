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
      ...['--disable-access-log-for-endpoints', '/health,/metrics,/v1/models,/load', '--enable-request-id-headers'],
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
          tensorParallelSize: 2,
        }),
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
    const flags = engine.launchSpec(context({ model })).argv.filter((word) => word.startsWith('--'));
    expect(flags.filter((name) => !new RegExp(`[\\s\`]${name.slice(2)}[\\s=]`).test(known))).toEqual([]);
  });

  it('takes the share of the memory that was promised to it [item 112]', () => {
    const share = (...devices: LaunchContext['devices'][number][]): string | undefined =>
      flag(engine.launchSpec(context({ devices })).argv, '--gpu-memory-utilization');
    expect(share(device(20, 24))).toBe('0.8333');
    expect(share(device(24, 24))).toBe('1');
    expect(share(device(10, 24), device(10, 20))).toBe('0.4167');
    expect(share(device(0, 24))).toBe('0.9');
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
