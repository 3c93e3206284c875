/** Nor does an end in order: the same tests, with three processes that end with the first. */
import { describe } from 'vitest';

process.env['TEST_WORKERS'] = '3';

describe('with three workers', async () => {
  await import('./shutdown.test.ts');
});
