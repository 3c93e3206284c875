import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ggufBytes, type GgufPairs } from '../../../test/support/gguf-bytes.ts';
import { configOfGguf, readGgufHeader } from './gguf-header.ts';
import { baseNames, chooseGguf, ggufOf } from './gguf-reference.ts';
import { readShape } from './shape.ts';

describe('names of GGUF models', () => {
  it('are a repository with a quantisation, a repository, a file of one, a path or an address [item 130]', () => {
    expect(ggufOf('org/name:Q4_K_M')).toEqual({ kind: 'repo', repo: 'org/name', quant: 'Q4_K_M', file: null });
    for (const quant of ['q8_0', 'IQ4_XS', 'UD-Q4_K_XL', 'F16', 'BF16', 'TQ1_0', 'MXFP4_MOE', 'Q4_K_S', 'Q6_K']) {
      expect(ggufOf(`org/name-GGUF:${quant}`)?.quant).toBe(quant);
    }
    expect(ggufOf('org/name-GGUF')).toEqual({ kind: 'repo', repo: 'org/name-GGUF', quant: null, file: null });
    expect(ggufOf('org/name/sub/x-Q4_0.gguf')).toEqual({
      kind: 'repo',
      repo: 'org/name',
      quant: 'Q4_0',
      file: 'sub/x-Q4_0.gguf',
    });
    for (const path of ['/models/x-Q4_K_M.gguf', './x-Q4_K_M.gguf', 'x-Q4_K_M.gguf']) {
      expect(ggufOf(path)).toEqual({ kind: 'file', repo: path, quant: 'Q4_K_M', file: null });
    }
    const url = 'https://host.example/org/name/resolve/main/x-Q4_K_M.gguf?download=true';
    expect(ggufOf(url)).toMatchObject({ kind: 'url', repo: url });
  });

  it('are told apart among more files than anybody has, without holding up the gateway', () => {
    const files = Array.from({ length: 99_999 }, (_, index) => ({
      name: `m-Q4_0-${String(index + 1).padStart(5, '0')}-of-99999.gguf`,
    }));
    const began = performance.now();
    expect(chooseGguf(files, { kind: 'repo', repo: 'org/name', quant: 'Q4_0', file: null }).kind).toBe('chosen');
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  it('are not all those that hold the letters [item 130]', () => {
    for (const name of [
      ...['org/gguf-tools', 'gguf-org/llama-7b', 'org/my-gguf-model', 'org/name:latest', 'org/name', 'Q4_K_M'],
      ...['https://host.example/gguf', '/models/gguf', 'org/name:Q4_K_M/x', 'name:Q4_K_M', ''],
    ]) {
      expect(ggufOf(name)).toBeNull();
    }
  });

  it('lead to the repositories that may hold the tokenizer [item 132]', () => {
    expect(baseNames('org/Meta-Llama-3.1-8B-Instruct-GGUF')).toEqual(['org/Meta-Llama-3.1-8B-Instruct']);
    expect(baseNames('x/y-Q4_K_M-GGUF')).toEqual(['x/y', 'x/y-Q4_K_M']);
    expect(baseNames('x/y-int4-gguf')).toEqual(['x/y', 'x/y-int4']);
    expect(baseNames('x/y-qat-q4_0-gguf')).toEqual(['x/y', 'x/y-qat-q4_0']);
    expect(baseNames('x/y')).toEqual([]);
  });
});

describe('the files of a quantisation', () => {
  const FILES = [
    ...['model-Q4_K_M.gguf', 'model-Q4_K_S.gguf', 'model-Q4_K.gguf', 'model-UD-Q4_K_M.gguf', 'model.i1-IQ4_XS.gguf'],
    ...[
      'Q8_0/model-Q8_0-00001-of-00002.gguf',
      'Q8_0/model-Q8_0-00002-of-00002.gguf',
      'BF16/model-BF16-00001-of-00003.gguf',
    ],
    ...['mmproj-model-F16.gguf', 'mmproj-F32.gguf', 'model.safetensors', 'README.md'],
  ].map((name) => ({ name }));
  const choose = (name: string, files: readonly { readonly name: string }[] = FILES): string => {
    const reference = ggufOf(name);
    if (reference === null) return 'no GGUF';
    const choice = chooseGguf(files, reference);
    return choice.kind === 'chosen' ? choice.files.map((file) => file.name).join(' ') : choice.reason;
  };

  it('match it exactly, in any case [item 131]', () => {
    expect(choose('org/name:Q4_K_M')).toBe('model-Q4_K_M.gguf');
    expect(choose('org/name:q4_k')).toBe('model-Q4_K.gguf');
    expect(choose('org/name:UD-Q4_K_M')).toBe('model-UD-Q4_K_M.gguf');
    expect(choose('org/name:IQ4_XS')).toBe('model.i1-IQ4_XS.gguf');
    expect(choose('org/name/model-Q4_K_S.gguf')).toBe('model-Q4_K_S.gguf');
  });

  it('are all shards, or none while one is missing [item 131]', () => {
    expect(choose('org/name:Q8_0')).toBe('Q8_0/model-Q8_0-00001-of-00002.gguf Q8_0/model-Q8_0-00002-of-00002.gguf');
    expect(choose('org/name:BF16')).toContain('lacks some of the 3 files');
  });

  it('are never a projector for images [item 131]', () => {
    expect(choose('org/name:F16')).toContain('has no F16');
    expect(choose('org/name-GGUF', [{ name: 'mmproj-F16.gguf' }, { name: 'x-Q4_0.gguf' }])).toBe('x-Q4_0.gguf');
    expect(choose('org/name-GGUF', [{ name: 'mmproj-F16.gguf' }])).toBe('org/name-GGUF has no GGUF model');
  });

  it('are not guessed: the message names what there is [item 131]', () => {
    expect(choose('org/name-GGUF')).toContain('name one of Q4_K_M, Q4_K_S, Q4_K, UD-Q4_K_M, IQ4_XS, Q8_0');
    expect(choose('org/name:Q2_K')).toContain('it has Q4_K_M');
    expect(choose('org/name:Q4_0', [{ name: 'a-Q4_0.gguf' }, { name: 'b-Q4_0.gguf' }])).toContain('a-Q4_0, b-Q4_0');
  });
});

const LLAMA: GgufPairs = {
  'general.architecture': 'llama',
  'general.name': 'Meta Llama 3.1 8B Instruct',
  'llama.block_count': 32,
  'llama.context_length': 131_072,
  'llama.embedding_length': 4096,
  'llama.attention.head_count': 32,
  'llama.attention.head_count_kv': 8,
  'llama.rope.freq_base': 500_000.5,
  'tokenizer.ggml.tokens': ['<s>', '</s>', 'a'],
};

function shapeOf(pairs: GgufPairs) {
  const header = readGgufHeader(ggufBytes(pairs));
  const config = header === null ? null : configOfGguf(header);
  return config === null ? 'no architecture' : readShape({ config, quantConfig: null, dtype: 'auto' });
}

describe('the head of a GGUF file', () => {
  it('gives what a config.json would, a head being embedding ÷ heads where it does not say', () => {
    expect(shapeOf(LLAMA)).toMatchObject({
      kv: [{ kind: 'full', layers: 32, kvHeads: 8, keySize: 128, valueSize: 128 }],
      kvElementBytes: 2,
      nativeLength: 131_072,
      attentionHeads: 32,
    });
    expect(shapeOf({ ...LLAMA, 'llama.attention.key_length': 256, 'llama.attention.value_length': 64 })).toMatchObject({
      kv: [{ keySize: 256, valueSize: 64 }],
    });
  });

  it('knows windows, latent attention and layers without KV heads', () => {
    const gemma = Object.fromEntries(
      Object.entries(LLAMA).map(([key, value]) => [key.replace('llama.', 'gemma3.'), value]),
    );
    const windowed = { ...gemma, 'general.architecture': 'gemma3', 'gemma3.attention.sliding_window': 1024 };
    expect(shapeOf(windowed)).toMatchObject({
      kv: [
        { kind: 'sliding', layers: 27 },
        { kind: 'full', layers: 5 },
      ],
    });
    const latent = { ...LLAMA, 'llama.attention.kv_lora_rank': 512, 'llama.rope.dimension_count': 64 };
    expect(shapeOf(latent)).toMatchObject({ kv: [{ kind: 'latent', layers: 32, elements: 576 }] });
    const hybrid = { ...LLAMA, 'llama.block_count': 3, 'llama.attention.head_count_kv': [0, 8, 0] };
    expect(shapeOf(hybrid)).toMatchObject({
      kv: [
        { kind: 'state', layers: 2 },
        { kind: 'full', layers: 1, kvHeads: 8 },
      ],
    });
  });

  it('is read as far as there are bytes', () => {
    const whole = ggufBytes(LLAMA);
    const cut = readGgufHeader(whole.subarray(0, whole.length - 20));
    expect(cut?.get('llama.block_count')).toBe(32);
    expect(cut?.has('tokenizer.ggml.tokens')).toBe(false);
    expect(readGgufHeader(ggufBytes(LLAMA, 2 ** 40))?.size).toBe(Object.keys(LLAMA).length);
  });

  it('is none where the bytes are something else', () => {
    expect(readGgufHeader(new Uint8Array())).toBeNull();
    expect(readGgufHeader(Buffer.from('GGML12345678'))).toBeNull();
    expect(readGgufHeader(Buffer.from('GGUF\u0009\u0000\u0000\u0000'))).toBeNull();
    expect(shapeOf({ 'general.name': 'x' })).toBe('no architecture');
  });

  it('never takes more than the bytes it was given, whatever they claim', () => {
    const whole = ggufBytes(LLAMA);
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(whole.length - 1), byte: fc.nat(255) }), { maxLength: 12 }),
        fc.nat(whole.length),
        (changes, length) => {
          const bytes = Uint8Array.from(whole.subarray(0, length));
          for (const { at, byte } of changes) if (at > 7 && at < length) bytes[at] = byte;
          const header = readGgufHeader(bytes);
          if (header !== null) expect(header.size).toBeLessThanOrEqual(4096);
          const config = header === null ? null : configOfGguf(header);
          if (config !== null) readShape({ config, quantConfig: null, dtype: 'auto' });
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
