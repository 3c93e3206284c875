import { describe, expect, it } from 'vitest';
import { load, type Situation } from '../../../test/support/load-config.ts';

async function told(yaml: string | undefined, situation: Situation = {}): Promise<readonly string[]> {
  const { lines } = await load(yaml, situation);
  return lines;
}

const model = (keys: string): string => `models: { m: { repo: a/b, max_model_len: 4096, ${keys} } }`;

describe('[item 95] the version of an image', () => {
  it('warns of arguments that it does not know any more, or not yet', async () => {
    const lines = await told(
      model('image: "vllm/vllm-openai:v0.23.0", extra_args: [--swap-space, 4, --task=embed, --seed, 1]'),
    );
    expect(lines).toEqual([
      expect.stringContaining('m.extra_args[0]: vLLM 0.23 has no --swap-space any more; its start would fail'),
      expect.stringContaining(
        'm.extra_args[2]: vLLM 0.23 has no --task any more; use --runner and --convert; its start',
      ),
    ]);
    expect(lines.every((line) => line.startsWith('warning'))).toBe(true);
    expect(await told(model('image: "vllm/vllm-openai:v0.10.2", extra_args: [--swap-space, 4]'))).toEqual([]);
    expect(await told(model('image: "vllm/vllm-openai:v0.10.2", extra_args: [--runner, pooling]'))).toEqual([
      expect.stringContaining('no --runner yet; it is in 0.11'),
    ]);
  });

  it('is taken for the newest where the tag does not tell, which is said once and where the image is named', async () => {
    expect(await told(model('image: "vllm/vllm-openai:latest"'))).toEqual([
      'info gateway.yaml:1:55: models.m.image: the tag of vllm/vllm-openai:latest names no version of vLLM; it is passed the flags of 0.32, the newest that is known here',
    ]);
    const two = 'models: { m: { repo: a/b, max_model_len: 1 }, n: { repo: a/c, max_model_len: 1 } }';
    expect(await told(two, { env: { VLLM_IMAGE: 'mine/vllm@sha256:00' } })).toEqual([
      expect.stringMatching(/^info environment: VLLM_IMAGE: the tag of mine\/vllm@sha256:00 names no version/),
    ]);
    expect(await told(two)).toEqual([]);
  });

  it('is nobody’s business where no image runs', async () => {
    expect(await told(model('driver: process, extra_args: [--swap-space, 4]'))).toEqual([]);
  });
});

describe('[item 130] GGUF', () => {
  it('is warned of where the version of the image has none, and a name that only sounds like it is not', async () => {
    const gguf = (repo: string, tag: string): Promise<readonly string[]> =>
      told(`models: { m: { repo: "${repo}", max_model_len: 1, image: "vllm/vllm-openai:${tag}" } }`);
    expect(await gguf('a/b-GGUF:Q4_K_M', 'v0.24.0')).toEqual([
      expect.stringContaining('models.m.repo: vLLM 0.24 loads GGUF'),
    ]);
    expect(await gguf('/models/x.gguf', 'v0.30.1')).toHaveLength(1);
    expect(await gguf('a/b-GGUF:Q4_K_M', 'v0.16.0')).toEqual([]);
    expect(await gguf('gguf-fans/llama', 'v0.30.1')).toEqual([]);
    expect(await gguf('a/b-GGUF', 'v0.16.0')).toEqual([expect.stringContaining('name it, as in a/b-GGUF:Q4_K_M')]);
  });
});

describe('the docker driver', () => {
  it('starts vLLM, and refuses to guess the command line of another server', async () => {
    const { config, problems } = await load(model(''));
    expect(config?.models.get('m')).toMatchObject({ driver: 'docker', engine: 'vllm' });
    expect(problems).toEqual([]);
    expect(await told(model('engine: openai-compatible'))).toEqual([
      expect.stringMatching(/^error .*models\.m\.engine: is openai-compatible, but the docker driver runs vllm only/),
    ]);
  });
});
