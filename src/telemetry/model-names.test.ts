import { describe, expect, it } from 'vitest';
import { FORMER_KEPT, ModelNames } from './model-names.ts';

describe('names of models in labels', () => {
  it('are those that the predicate knows until names are told', () => {
    const names = new ModelNames(
      (name) => name === 'a',
      () => undefined,
    );
    expect([names.has('a'), names.has('b')]).toEqual([true, false]);
    names.replace(['b']);
    expect([names.has('a'), names.has('b')]).toEqual([false, true]);
  });

  it('stay for a while when they are configured no longer, and are forgotten in the order in which they went', () => {
    const forgotten: string[] = [];
    const names = new ModelNames(
      () => false,
      (name) => forgotten.push(name),
    );
    names.replace(['stays', 'model-0']);
    for (let count = 1; count <= FORMER_KEPT + 2; count += 1) names.replace(['stays', `model-${count}`]);
    expect(forgotten).toEqual(['model-0', 'model-1']);
    expect([names.has('stays'), names.has('model-1'), names.has('model-2')]).toEqual([true, false, true]);
    names.replace(['model-2']);
    names.replace(['model-2', 'another']);
    expect([names.has('model-2'), names.has('stays'), forgotten]).toEqual([
      true,
      true,
      ['model-0', 'model-1', 'model-3'],
    ]);
  });
});
