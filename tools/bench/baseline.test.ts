import { expect, it } from 'vitest';
import { readSource } from '../../test/support/source-tree.ts';
import { namedBaseline } from './builds.ts';

it('the commit that costs are compared with is moved with a line in the changelog', () => {
  const line = `the cost of a change is compared with commit \`${namedBaseline().slice(0, 10)}\``;
  expect(namedBaseline()).toMatch(/^[0-9a-f]{40}$/);
  expect(readSource('CHANGELOG.md').includes(line), `CHANGELOG.md does not say: ${line}`).toBe(true);
});
