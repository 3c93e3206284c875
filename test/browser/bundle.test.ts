import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { builtProgram } from '../support/built-program.ts';

const FOLDER = fileURLToPath(new URL('../../dist/web', import.meta.url));
const MOST_BYTES = 150_000;

it('is a page of less than 150 kB on the wire, all of its files together', () => {
  builtProgram();
  const files = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\.(?:html|js|css|svg)$/.test(path),
  );
  expect(files.map((path) => path.slice(path.lastIndexOf('.') + 1)).toSorted()).toEqual(['css', 'html', 'js', 'svg']);
  const sizes = files.map((path) => gzipSync(readFileSync(join(FOLDER, path))).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(MOST_BYTES);
});
