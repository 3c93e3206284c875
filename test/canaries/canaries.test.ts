import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transformWithOxc } from 'vite';
import { describe, expect, it } from 'vitest';
import { CANARIES } from './canaries.ts';
import { plant } from './canary.ts';
import { keptSeeds } from './records.ts';

const ROOT = join(import.meta.dirname, '../..');
const sourceOf = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const compiled = async (file: string, source: string): Promise<string> =>
  (await transformWithOxc(source, join(ROOT, file), { sourcemap: false })).code;

describe('planted bugs', () => {
  it('fit into the source at exactly one place each, and compile to another program', async () => {
    const unfit: string[] = [];
    for (const canary of CANARIES) {
      const source = sourceOf(canary.file);
      try {
        const [before, after] = [source, plant(canary, source)].map((text) => compiled(canary.file, text));
        if ((await before) === (await after)) unfit.push(`${canary.name}: the same program`);
      } catch (error) {
        unfit.push(`${canary.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    expect(unfit).toEqual([]);
  });

  it('are many, in the source that ships, each under a name of its own', () => {
    expect(CANARIES.length).toBeGreaterThanOrEqual(30);
    expect(new Set(CANARIES.map(({ name }) => name)).size).toBe(CANARIES.length);
    expect(CANARIES.filter(({ file }) => !/^src\/(core|controller|proxy)\//.test(file))).toEqual([]);
  });

  it('have a seed each from which the next search begins', () => {
    const names = CANARIES.map(({ name }) => name).toSorted((one, other) => (one < other ? -1 : 1));
    expect(Object.keys(keptSeeds())).toEqual(names);
  });
});
