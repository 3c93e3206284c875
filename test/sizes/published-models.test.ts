/**
 * What published models take, from the metadata under test/fixtures/hf (its index.md says where each number is from).
 * Weights within 2 % of what is published, KV cache to the byte; both written as products of the figures they come from.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { estimateNeed, validDegrees } from '../../src/core/memory/estimate.ts';
import type { ModelShape } from '../../src/core/memory/model-shape.ts';
import { createModelFiles } from '../../src/engines/model-files/model-files.ts';
import { createPlatform } from '../../src/platform/system.ts';
import { HubStub, type StubFile, type StubRepo } from '../support/hub-stub.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/hf/', import.meta.url));
const LENGTH = 4096;
const BLOCK = 16;
const BF16 = 2;
const FP8 = 1;

interface Published {
  /** Bytes on disk or of all parameters; of 32-bit ones as they are loaded. */
  readonly weights: number;
  /** Of one sequence of `LENGTH` tokens, 2,048 tokens per step. */
  readonly kv: number;
  readonly native: number;
  readonly degrees: readonly number[];
}

/** layers × (key + value) × KV heads × head size × element size, of every token. */
const full = (layers: number, kvHeads: number, size: number, element = BF16): number =>
  layers * 2 * kvHeads * size * element * LENGTH;
const blocksOf = (tokens: number): number => Math.ceil(tokens / BLOCK);
/** Tokens before the newest one, two steps in flight, and one block because the window begins inside one. */
const windowed = (window: number): number => (blocksOf(Math.min(window - 1 + 2 * 2048, LENGTH)) + 1) * BLOCK;

const MODELS: Readonly<Record<string, Published>> = {
  'meta-llama/Llama-3.1-8B-Instruct': {
    weights: 8_030_261_248 * BF16,
    kv: full(32, 8, 128),
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'meta-llama/Llama-3.1-70B-Instruct': {
    weights: 70_553_706_496 * BF16,
    kv: full(80, 8, 128),
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'nvidia/Llama-3.1-70B-Instruct-FP8': {
    // All but the two tables of 128,256 × 8,192, which stay 16-bit.
    weights: (70_553_706_496 - 2 * 128_256 * 8192) * FP8 + 2 * 128_256 * 8192 * BF16,
    kv: full(80, 8, 128, FP8),
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'meta-llama/Llama-3.2-1B-Instruct': {
    weights: 1_235_814_400 * BF16,
    kv: full(16, 8, 64),
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'Qwen/Qwen2.5-7B-Instruct': {
    weights: 7_615_616_512 * BF16,
    kv: full(28, 4, 128),
    native: 32_768,
    degrees: [1, 2, 4],
  },
  'Qwen/Qwen2.5-72B-Instruct-AWQ': {
    weights: 8_876_851_200 * 4 + 3_044_057_088 * 2,
    kv: full(80, 8, 128),
    native: 32_768,
    degrees: [1, 2, 4, 8],
  },
  'Qwen/Qwen2.5-VL-7B-Instruct': {
    weights: 8_292_166_656 * BF16,
    kv: full(28, 4, 128),
    native: 128_000,
    degrees: [1, 2, 4],
  },
  'Qwen/Qwen3-8B': { weights: 8_190_735_360 * BF16, kv: full(36, 8, 128), native: 40_960, degrees: [1, 2, 4, 8] },
  'Qwen/Qwen3-30B-A3B': {
    weights: 30_532_122_624 * BF16,
    kv: full(48, 4, 128),
    native: 40_960,
    degrees: [1, 2, 4, 8],
  },
  'Qwen/Qwen3-30B-A3B-FP8': { weights: 31.16e9, kv: full(48, 4, 128), native: 40_960, degrees: [1, 2, 4, 8] },
  'Qwen/Qwen3-Next-80B-A3B-Instruct': {
    weights: 81_324_862_720 * BF16,
    // 12 full layers and 36 that keep 8,192 × 3 + 32 × 128 × 128 elements, as four groups of 12. A block of 544 tokens
    // (34 × 16) of 2 × 2 heads × 256 is the first that holds such a state.
    kv: (Math.ceil(LENGTH / 544) + 3) * 12 * 544 * 2 * 2 * 256 * BF16,
    native: 262_144,
    degrees: [1, 2, 4, 8],
  },
  'mistralai/Mistral-7B-v0.1': {
    weights: 7_241_732_096 * BF16,
    // The window is as long as the sequence here.
    kv: full(32, 8, 128),
    native: 32_768,
    degrees: [1, 2, 4, 8],
  },
  'mistralai/Mistral-Small-24B-Instruct-2501': {
    weights: 23_572_403_200 * BF16,
    kv: full(40, 8, 128),
    native: 32_768,
    degrees: [1, 2, 4, 8],
  },
  'google/gemma-2-9b-it': {
    weights: 9_241_705_984 * BF16,
    kv: full(21 + 21, 8, 256),
    native: 8192,
    degrees: [1, 2, 4, 8],
  },
  'google/gemma-3-12b-it': {
    weights: 12_187_325_040 * BF16,
    // 8 full and 40 sliding layers: one group and five.
    kv: (LENGTH + 5 * windowed(1024)) * 8 * 2 * 8 * 256 * BF16,
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'google/gemma-3-27b-it': {
    weights: 27_432_406_640 * BF16,
    // 10 full and 52 sliding layers: one group and six, the last one filled up.
    kv: (LENGTH + 6 * windowed(1024)) * 10 * 2 * 16 * 128 * BF16,
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'microsoft/Phi-3.5-mini-instruct': {
    weights: 3_821_079_552 * BF16,
    kv: full(32, 32, 96),
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'microsoft/phi-4': {
    weights: 14_659_507_200 * BF16,
    kv: full(40, 10, 128),
    native: 16_384,
    degrees: [1, 2, 5],
  },
  'deepseek-ai/DeepSeek-V2-Lite': {
    weights: 15_706_484_224 * BF16,
    kv: 27 * (512 + 64) * BF16 * LENGTH,
    native: 163_840,
    degrees: [1, 2, 4, 8],
  },
  'deepseek-ai/DeepSeek-V3': {
    // What its index states is twice as much.
    weights: 680_571_043_840 * 1 + 3_918_786_560 * 2 + 41_555_600 * 4,
    kv: 61 * (512 + 64) * BF16 * LENGTH,
    native: 163_840,
    degrees: [1, 2, 4, 8],
  },
  'openai/gpt-oss-20b': {
    weights: 13_761_264_768,
    kv: (LENGTH + windowed(128)) * 12 * 2 * 8 * 64 * BF16,
    native: 131_072,
    degrees: [1, 2, 4, 8],
  },
  'ai21labs/Jamba-v0.1': {
    weights: 51_570_323_328 * BF16,
    // 4 attention layers and 28 that keep 8,192 × (3 + 16) elements: 80 tokens of 2 × 8 heads × 128 hold such a state.
    kv: (Math.ceil(LENGTH / 80) + 7) * 4 * 80 * 2 * 8 * 128 * BF16,
    native: 262_144,
    degrees: [1, 2, 4, 8],
  },
  'BAAI/bge-m3': {
    // Stored in 32 bits, loaded in 16.
    weights: 567_754_752 * 2,
    kv: 0,
    native: 8194,
    degrees: [1, 2, 4, 8],
  },
  'tiiuae/falcon-7b': {
    weights: 7_217_189_760 * BF16,
    // Its native length is shorter; the 71 KV heads of its file are one.
    kv: 32 * 2 * 1 * 64 * BF16 * 2048,
    native: 2048,
    degrees: [1],
  },
  'openai/whisper-large-v3': {
    weights: 1_543_490_560 * 2,
    // 448 tokens of its own and 1,500 positions of the encoder, in whole blocks.
    kv: (448 + blocksOf(1500) * BLOCK) * 32 * 2 * 20 * 64 * 2,
    native: 448,
    degrees: [1, 2, 4, 5],
  },
  'llava-hf/llava-1.5-7b-hf': {
    weights: 7_063_427_072 * 2,
    kv: full(32, 32, 128),
    native: 4096,
    degrees: [1, 2, 4, 8],
  },
};

const SIZING = {
  utilization: 0.9,
  maxModelLen: LENGTH,
  kvSequences: 1,
  maxNumSeqs: 1,
  maxBatchedTokens: 2048,
  kvElementBytes: null,
  weightElementBytes: null,
  colocate: false,
  autoParallel: true,
};
const NOTHING_ADDED = {
  placementMode: 'budget',
  eviction: 'lru',
  overheadFactor: 1,
  overhead: 0,
  colocateMargin: 0,
  weightOverhead: 1,
  budgetFraction: 0.9,
} as const;

const held: { hub?: HubStub } = {};
const platform = createPlatform();

/** The repository as its fixture describes it: the metadata files, and files of weights of which only the size is known. */
function stubRepo(name: string): StubRepo {
  const folder = join(FIXTURES, name.replace('/', '--'));
  const text = (file: string): string | null =>
    existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8') : null;
  const files: Record<string, StubFile> = {};
  for (const file of ['config.json', 'hf_quant_config.json', 'model.safetensors.index.json']) {
    const body = text(file);
    if (body !== null) files[file] = { body };
  }
  const siblings = JSON.parse(text('siblings.json') ?? '[]') as { rfilename: string; size: number }[];
  for (const { rfilename, size } of siblings) files[rfilename] = { size, large: true };
  const safetensors = text('safetensors.json');
  return { files, ...(safetensors === null ? {} : { info: { safetensors: JSON.parse(safetensors) as unknown } }) };
}

async function shapeOf(name: string): Promise<ModelShape> {
  const files = createModelFiles({ platform, hub: held.hub?.url ?? '', cacheFolders: [], token: null, offline: false });
  const size = await files.size(name, { quantization: null, dtype: 'auto' });
  if (size.kind !== 'shape') throw new Error(size.reason);
  return size.shape;
}

beforeAll(async () => {
  held.hub = await HubStub.start();
  for (const name of Object.keys(MODELS)) held.hub.repos.set(name, stubRepo(name));
});

afterAll(async () => {
  await held.hub?.[Symbol.asyncDispose]();
  await platform.http.close();
});

describe('published models', () => {
  for (const [name, published] of Object.entries(MODELS)) {
    it(`${name}: weights within 2 %, KV cache to the byte [items 117, 118, 119, 120]`, async () => {
      const shape = await shapeOf(name);
      const need = estimateNeed(shape, SIZING, NOTHING_ADDED, 1);
      expect(Math.abs((need?.weightsBytes ?? 0) / published.weights - 1)).toBeLessThan(0.02);
      expect(need?.kvBytes).toBe(published.kv);
      expect(shape.nativeLength).toBe(published.native);
      expect(validDegrees(shape, 8)).toEqual(published.degrees);
    });
  }

  it('are all those that there are fixtures of, but for the GGUF one', () => {
    const fixtures = readdirSync(FIXTURES).filter((name) => existsSync(join(FIXTURES, name, 'config.json')));
    expect(
      Object.keys(MODELS)
        .map((name) => name.replace('/', '--'))
        .toSorted(),
    ).toEqual(fixtures.toSorted());
  });

  it('hold the worked examples of full length, on one device and on several [item 121]', async () => {
    const kvOf = async (name: string, maxModelLen: number, degree = 1): Promise<number | undefined> =>
      estimateNeed(await shapeOf(name), { ...SIZING, maxModelLen }, NOTHING_ADDED, degree)?.kvBytes;
    expect(await kvOf('meta-llama/Llama-3.1-8B-Instruct', 0)).toBe(131_072 * 131_072);
    expect(await kvOf('meta-llama/Llama-3.1-8B-Instruct', 8192, 16)).toBe(8192 * 16_384);
    expect(await kvOf('Qwen/Qwen2.5-7B-Instruct', 0)).toBe(32_768 * 57_344);
    expect(await kvOf('Qwen/Qwen2.5-7B-Instruct', 0, 4)).toBe(32_768 * 14_336);
    expect(await kvOf('Qwen/Qwen2.5-7B-Instruct', 0, 8)).toBe(32_768 * 14_336);
    expect(await kvOf('deepseek-ai/DeepSeek-V2-Lite', 0)).toBe(5_096_079_360);
    expect(await kvOf('deepseek-ai/DeepSeek-V2-Lite', 0, 8)).toBe(5_096_079_360);
    expect(await kvOf('Qwen/Qwen3-30B-A3B', 0)).toBe(4_026_531_840);
    // 16 sequences of Mistral-7B: each its window, all together two steps in flight.
    const mistral = await shapeOf('mistralai/Mistral-7B-v0.1');
    const many = { ...SIZING, maxModelLen: 0, kvSequences: 16 };
    expect(estimateNeed(mistral, many, NOTHING_ADDED, 1)?.kvBytes).toBe(
      (16 * (blocksOf(4095) + 1) + blocksOf(2 * 2048)) * BLOCK * 131_072,
    );
  });

  it('say which numbers were assumed', async () => {
    expect((await shapeOf('google/gemma-3-12b-it')).notes.join('; ')).toContain('head_dim');
    expect((await shapeOf('nvidia/Llama-3.1-70B-Instruct-FP8')).notes.join('; ')).toContain('one byte per element');
    expect((await shapeOf('BAAI/bge-m3')).notes).toContain('stored in 32 bits, loaded in 16');
  });
});
