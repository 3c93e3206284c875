import { describe, expect, it } from 'vitest';
import { didYouMean, editDistance, suggest } from './suggest.ts';

describe('a guess', () => {
  it('counts insertions, deletions, substitutions and swaps as one each', () => {
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('limits', 'limts')).toBe(1);
    expect(editDistance('limits', 'limist')).toBe(1);
    expect(editDistance('limits', 'lomits')).toBe(1);
    expect(editDistance('abc', 'abc')).toBe(0);
  });

  it('ignores case and dashes, which people mix up', () => {
    expect(suggest('Max-Queue-Size', ['max_turn', 'max_queue_size'])).toBe('max_queue_size');
    expect(suggest('maxqueuesize', ['max_turn', 'max_queue_size'])).toBe('max_queue_size');
  });

  it('is only made when it is near', () => {
    expect(suggest('banana', ['max_turn', 'limits'])).toBeUndefined();
    expect(suggest('ab', ['xy', 'ac'])).toBe('ac');
    expect(suggest('x'.repeat(10_000), ['x'])).toBeUndefined();
  });

  it('takes the nearest, and the exact spelling where two are as near', () => {
    expect(suggest('GPU-9', ['gpu-0', 'GPU-1'])).toBe('GPU-1');
    expect(didYouMean('dockr', ['docker', 'process'])).toBe('; did you mean "docker"?');
    expect(didYouMean('kube', ['docker', 'process'])).toBe('');
  });
});
