import { describe, expect, it } from 'vitest';
import { requestRecord } from '../../test/support/request-record.ts';
import { createActivity } from './activity.ts';

describe('the activity of models', () => {
  it('adds up finished requests, times to the first byte and tokens, by configured name alone', () => {
    const activity = createActivity((name) => name === 'llama');
    activity.requestEnded(
      requestRecord({ model: 'llama', outcome: 'completed', firstByteMs: 250, promptTokens: 5, completionTokens: 16 }),
    );
    activity.requestEnded(
      requestRecord({
        model: 'llama',
        outcome: 'rejected',
        firstByteMs: null,
        promptTokens: null,
        completionTokens: null,
      }),
    );
    activity.requestEnded(requestRecord({ model: 'unknown' }));
    expect([...activity.totals()]).toEqual([
      [
        'llama',
        { requests: 2, unfinished: 1, firstBytes: 1, firstByteSeconds: 0.25, promptTokens: 5, completionTokens: 16 },
      ],
    ]);
  });
});
