/** What is counted is counted once, and what is left behind is nothing: the same tests, with three processes. */
import { describe } from 'vitest';

process.env['TEST_WORKERS'] = '3';

describe('with three workers', async () => {
  await import('./limits.test.ts');
  await import('./leaks.test.ts');
  await import('./traces.test.ts');
});
