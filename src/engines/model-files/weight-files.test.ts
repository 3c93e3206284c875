import { describe, expect, it } from 'vitest';
import { readIndex, selectWeights } from './weight-files.ts';

function chosen(names: readonly string[], indexed: readonly string[] = []): string {
  const files = names.map((name) => ({ name, size: 1 }));
  const set = selectWeights(files, indexed.length === 0 ? null : { names: indexed, totalSize: null });
  if (set === null) return 'none';
  return `${set.files.map(({ name }) => name).join(' ')}${set.complete ? '' : ' …'}`;
}

describe('the one set of weights that is loaded [item 116]', () => {
  it('is safetensors before pickled files, shards or one file', () => {
    expect(chosen(['pytorch_model.bin', 'model.safetensors', 'tf_model.h5', 'rust_model.ot'])).toBe(
      'model.safetensors',
    );
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    expect(chosen([...shards, 'pytorch_model-00001-of-00001.bin'])).toBe(shards.join(' '));
    expect(chosen(['pytorch_model.bin', 'training_args.bin', 'optimizer.bin'])).toBe('pytorch_model.bin');
    expect(chosen(['consolidated.00.pth', 'consolidated.01.pth'])).toBe('consolidated.00.pth consolidated.01.pth');
  });

  it('leaves out copies in other precisions, layouts and folders', () => {
    expect(
      chosen(['model.safetensors', 'model.fp32-00001-of-00002.safetensors', 'model.fp32-00002-of-00002.safetensors']),
    ).toBe('model.safetensors');
    expect(chosen(['model-00001-of-00001.safetensors', 'consolidated.safetensors'])).toBe(
      'model-00001-of-00001.safetensors',
    );
    expect(chosen(['model.safetensors', 'original/model.safetensors', 'metal/model.bin'])).toBe('model.safetensors');
    expect(chosen(['adapter_model.safetensors', 'model.safetensors'])).toBe('model.safetensors');
    const two = ['model-00001-of-00001.safetensors', 'model-00001-of-00002.safetensors'];
    expect(chosen(two)).toBe(two[0]);
  });

  it('is the consolidated file where there is no other', () => {
    expect(chosen(['consolidated.safetensors', 'tokenizer.json'])).toBe('consolidated.safetensors');
  });

  it('is what the index names, whatever else lies there', () => {
    expect(chosen(['a.safetensors', 'b.safetensors', 'c.safetensors'], ['a.safetensors', 'c.safetensors'])).toBe(
      'a.safetensors c.safetensors',
    );
    expect(chosen(['a.safetensors'], ['a.safetensors', 'b.safetensors'])).toBe('a.safetensors …');
    expect(chosen(['model.safetensors'], ['gone.bin'])).toBe('model.safetensors');
    expect(chosen(['parts/a.safetensors', 'x.safetensors'], ['parts/a.safetensors'])).toBe('parts/a.safetensors');
  });

  it('is incomplete while shards are missing, and nothing where there are no weights', () => {
    expect(chosen(['model-00001-of-00003.safetensors'])).toBe('model-00001-of-00003.safetensors …');
    expect(chosen(['config.json', 'model.gguf', 'model.onnx'])).toBe('none');
    expect(chosen([])).toBe('none');
  });

  it('never leaves the folder', () => {
    expect(chosen(['../../secret/model.safetensors'], ['../../secret/model.safetensors'])).toBe('none');
    const index = readIndex(JSON.stringify({ weight_map: { a: '../x.safetensors', b: 7, c: 'y.safetensors' } }));
    expect(index).toEqual({ names: ['y.safetensors'], totalSize: null });
    expect(readIndex('[]')).toBeNull();
    expect(readIndex('{')).toBeNull();
  });
});
