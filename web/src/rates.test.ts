import { describe, expect, it } from 'vitest';
import type { ActivityEvent } from '../../src/admin/contract.ts';
import { ratesOf } from './rates.ts';

function sample(second: number, requests: number, seconds: number, tokens: number): ActivityEvent {
  const model = { requests, unfinished: 0, first_bytes: requests, first_byte_s: seconds, prompt_tokens: 0 };
  return { at: new Date(second * 1000).toISOString(), models: { llama: { ...model, completion_tokens: tokens } } };
}

describe('rates', () => {
  it('are differences over the last few seconds', () => {
    const { requests, firstByte, tokens } = ratesOf([sample(0, 4, 2, 100), sample(2, 8, 4, 160), sample(4, 8, 4, 160)]);
    expect(requests.map(({ value }) => value)).toEqual([2, 1]);
    expect(firstByte.map(({ value }) => value)).toEqual([0.5, 0.5]);
    expect(tokens.map(({ value }) => value)).toEqual([30, 15]);
    expect(requests.map(({ at }) => at)).toEqual([-2, 0]);
  });

  it('know no time to a first byte while no answer begins', () => {
    const { firstByte } = ratesOf([sample(0, 4, 2, 100), sample(10, 4, 2, 100), sample(11, 4, 2, 100)]);
    expect(firstByte.at(-1)?.value).toBeNull();
  });
});
