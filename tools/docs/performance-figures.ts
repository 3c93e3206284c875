/** What the long runs of `npm run bench` wrote down; undefined where one was never made. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readSource, ROOT } from '../../test/support/source-tree.ts';
import type { PairsShown } from '../bench/pairs.ts';
import type { Profiled } from '../bench/profile.ts';
import type { Run } from '../bench/record.ts';

function read(name: string): unknown {
  const path = `docs/measurements/${name}.json`;
  return existsSync(join(ROOT, path)) ? JSON.parse(readSource(path)) : undefined;
}

export interface Figures {
  readonly run: Run | undefined;
  readonly pairs: PairsShown | undefined;
  readonly profiled: Profiled | undefined;
}

export const measuredFigures = (): Figures => ({
  run: read('performance') as Run | undefined,
  pairs: read('performance-pairs') as PairsShown | undefined,
  profiled: read('performance-profile') as Profiled | undefined,
});
