/** `npm run docs`: writes every generated page. test/docs.test.ts compares them with what is checked in. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../test/support/source-tree.ts';
import { PAGES } from './docs/pages.ts';

for (const [path, render] of Object.entries(PAGES)) {
  writeFileSync(join(ROOT, path), await render());
  console.log(path);
}
