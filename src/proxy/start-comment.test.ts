import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { ComingStart } from '../core/lifecycle/forecast.ts';
import { startComment } from './start-comment.ts';

const loading = (over: Partial<ComingStart> = {}): ComingStart => ({
  ...{ stage: 'starting', phase: 'load', fraction: 0.437, left: 20_400, phaseLeft: 3_000 },
  ...over,
});

describe('what a waiting stream is told of a start', () => {
  it.each([
    [loading(), 'loading weights 43 %, about 20 s'],
    [loading({ left: 300 }), 'loading weights 43 %, about 1 s'],
    [loading({ left: 400_000, fraction: null, phase: 'compile' }), 'compiling, about 7 min'],
    [loading({ left: null }), 'loading weights 43 %, about 3 s for that'],
    [loading({ left: null, phaseLeft: null, fraction: 1 }), 'loading weights 100 %'],
    [loading({ stage: 'reserved', phase: null, left: 41_000 }), 'waiting for its turn, about 41 s'],
    [loading({ stage: 'preparing', phase: 'weights', left: null }), 'fetching its weights 43 %, about 3 s for that'],
  ] as const)('%j is told as %s', (coming, words) => {
    expect(startComment('llama-8b', coming)).toBe(`: starting llama-8b, ${words}\n\n`);
  });

  it('is one comment, whatever the model and the phase are called', () => {
    const hostile = 'a\r\n\r\ndata: {"x":1}\n\n\u2028\u2029\u0085\u0000\ud800b';
    const told = startComment(hostile, loading({ phase: 'x\n\ndata: [DONE]', left: null, phaseLeft: null }));
    expect(told).toBe(': starting a    data: {"x":1}       b\n\n');
    expect(startComment('n'.repeat(5_000), loading()).length).toBeLessThan(250);
  });

  it('has words for every phase of vLLM and of preparations', () => {
    const source = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
    const phases = [...source('../engines/vllm/progress.ts').matchAll(/phase: '(\w+)'/g)].map(
      (match) => match[1] ?? '',
    );
    expect(new Set(phases).size).toBeGreaterThan(7);
    for (const phase of [...phases, 'metadata', 'image', 'weights', 'launch', 'launched']) {
      const told = startComment('m', loading({ phase, fraction: null, left: null, phaseLeft: null }));
      expect(told, phase).toMatch(/^: starting m, [a-zA-Z ]+\n\n$/);
    }
  });
});
