import { describe, expect, it } from 'vitest';
import { resolveCommand } from './command.ts';
import { baseEnvironment, marks } from './environment.ts';
import { fileName } from '../logs/names.ts';

describe('the environment of an engine', () => {
  it('holds what engines need and nothing that speaks to the gateway or is its secret', () => {
    expect(
      baseEnvironment({
        PATH: '/bin',
        HOME: '/root',
        CUDA_HOME: '/cuda',
        HF_HOME: '/hf',
        VLLM_CACHE_ROOT: '/cache',
        FAKE_VLLM_SPEED: '2',
        HTTPS_PROXY: 'http://proxy',
        GATEWAY_ADMIN_KEY: 'secret',
        GATEWAY_API_KEYS: 'secret',
        VLLM_API_KEY: 'secret',
        VLLM_PORT: '8000',
        VLLM_IMAGE: 'x',
        VLLM_GATEWAY_RECOUNT: '1',
        AWS_SECRET_ACCESS_KEY: 'secret',
        NODE_OPTIONS: '--inspect',
        UNSET: undefined,
      }),
    ).toEqual({
      PATH: '/bin',
      HOME: '/root',
      CUDA_HOME: '/cuda',
      HF_HOME: '/hf',
      VLLM_CACHE_ROOT: '/cache',
      FAKE_VLLM_SPEED: '2',
      HTTPS_PROXY: 'http://proxy',
      SPT_NOENV: '1',
    });
  });

  it('passes the token of the hub under the name that engines read [item 92]', () => {
    expect(baseEnvironment({ HUGGING_FACE_HUB_TOKEN: 'a' })).toMatchObject({ HF_TOKEN: 'a' });
    expect(baseEnvironment({ HUGGING_FACE_HUB_TOKEN: 'a', HF_TOKEN: 'b' })).toMatchObject({ HF_TOKEN: 'b' });
    expect(baseEnvironment({ HUGGING_FACE_HUB_TOKEN: '' })).not.toHaveProperty('HF_TOKEN');
  });

  it('is marked so that a process can be found whatever happened to its record', () => {
    expect(marks('g', { id: 'a', generation: 3 })).toEqual({
      VGW_REPLICA: 'a',
      VGW_GATEWAY: 'g',
      VGW_PROCESS: 'g/a/3',
    });
  });
});

describe('the simulated engine', () => {
  const argv = ['simulated-vllm', 'serve', 'x'];
  it('is found beside the sources, once built, and in the installed package', () => {
    expect(resolveCommand(argv, '/node', 'file:///a%20b/src/drivers/process/command.ts')).toEqual([
      ...['/node', '/a b/dist/tools/fake-vllm/main.js', 'serve', 'x'],
    ]);
    expect(resolveCommand(argv, '/node', 'file:///p/dist/src/drivers/process/command.js')).toEqual([
      ...['/node', '/p/dist/tools/fake-vllm/main.js', 'serve', 'x'],
    ]);
  });

  it('is the only word with a meaning', () => {
    expect(resolveCommand(['vllm', 'simulated-vllm'], '/node')).toEqual(['vllm', 'simulated-vllm']);
  });
});

describe('names of files', () => {
  it('stay in their folder, whatever the replica is called', () => {
    expect(fileName({ id: '../../etc/passwd', generation: 1 })).toBe('%2E.%2F..%2Fetc%2Fpasswd.1');
    expect(fileName({ id: 'llama-8b-1a2b3c', generation: 7 })).toBe('llama-8b-1a2b3c.7');
    expect(fileName({ id: 'é'.repeat(500), generation: 1 }).length).toBeLessThan(200);
  });
});
