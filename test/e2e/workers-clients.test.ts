/** What clients see does not tell how many processes answer them: the same tests, with three. */
import { describe } from 'vitest';

process.env['TEST_WORKERS'] = '3';

describe('with three workers', async () => {
  await import('./smoke.test.ts');
  await import('./openai-client.test.ts');
  await import('./anthropic-client.test.ts');
});
