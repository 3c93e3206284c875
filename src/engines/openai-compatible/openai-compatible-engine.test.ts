import { describe, expect, it } from 'vitest';
import { modelConfig } from '../../../test/support/model-config.ts';
import type { LaunchContext } from '../engine.ts';
import { engineOf } from '../registry.ts';

const engine = engineOf('openai-compatible');

function context(model: LaunchContext['model']): LaunchContext {
  return {
    model,
    command: [],
    host: '127.0.0.1',
    port: 20_002,
    engineKey: 'vgw-key',
    devices: [{ id: 'gpu-0', uuid: 'GPU-a', totalBytes: 1, reservedBytes: 1 }],
    share: { tensorParallel: 1, utilization: null, kvCacheBytes: null, maxModelLen: null },
    image: null,
  };
}

describe('any server of the OpenAI API', () => {
  it('runs the command as it is written, templates filled in', () => {
    const model = modelConfig({
      engine: 'openai-compatible',
      repo: 'qwen.gguf',
      command: ['llama-server', '-m', '/models/${repo}', '--port', '${port}', '--alias', '${model}', '${other}'],
      env: { GPUS: '${devices}' },
    });
    const spec = engine.launchSpec(context(model));
    expect(spec.argv).toEqual([
      ...['llama-server', '-m', '/models/qwen.gguf', '--port', '20002', '--alias', 'llama-8b', '${other}'],
    ]);
    expect(spec.env).toEqual({
      GPUS: 'GPU-a',
      CUDA_VISIBLE_DEVICES: 'GPU-a',
      CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
      VGW_ENGINE_KEY: 'vgw-key',
      VLLM_API_KEY: 'vgw-key',
    });
  });

  it('answers to the name that it was started with, else to its own', () => {
    const named = modelConfig({ command: ['serve', '--as=${model}'] });
    expect(engine.servedName(named)).toBe('llama-8b');
    expect(engine.servedName(modelConfig({ command: ['ollama', 'serve'], repo: 'llama3:8b' }))).toBe('llama3:8b');
    expect(engine.servedName(modelConfig({ driver: 'external', repo: 'there' }))).toBe('there');
  });

  it('asks the health path of the model, or none', () => {
    expect(engine.healthPath(modelConfig({ healthPath: '/ready?m=${model}', command: ['x', '${model}'] }))).toBe(
      '/ready?m=llama-8b',
    );
    expect(engine.healthPath(modelConfig({ healthPath: null }))).toBeNull();
    expect(engine.listsModels).toBe(false);
  });

  it('reads the counters of servers that are often run so', () => {
    const llamacpp =
      'llamacpp:prompt_tokens_total 10\nllamacpp:tokens_predicted_total 20\nllamacpp:requests_processing 1\n';
    expect(engine.readCounters(llamacpp)).toEqual({
      promptTokens: 10,
      generationTokens: 20,
      kvCacheUsage: 0,
      running: 1,
    });
    expect(engine.readCounters('nothing 1\n')).toBeNull();
  });

  it('says in clear words when a command is missing', () => {
    expect(() => engine.launchSpec(context(modelConfig({ command: null })))).toThrow('llama-8b has no command');
  });
});
