/** The dashboard runs in a browser: it shares nothing with the program but the types of what the program answers. */
import { describe, expect, it } from 'vitest';
import {
  dynamicImportsOf,
  filesUnder,
  importsOf,
  isTest,
  readSource,
  resolveSpecifier,
} from './support/source-tree.ts';

const PACKAGES = ['preact', 'preact/hooks'];
const CONTRACT = 'src/admin/contract.ts';

const sources = filesUnder('web/src', ['.ts', '.tsx']).filter((path) => !isTest(path));

function complaint(path: string, specifier: string, typeOnly: boolean): string | undefined {
  if (!specifier.startsWith('.')) {
    return PACKAGES.includes(specifier) ? undefined : `package ${specifier} is not for the dashboard`;
  }
  const target = resolveSpecifier(path, specifier);
  if (target.startsWith('web/src/')) return undefined;
  if (target !== CONTRACT) return `${target} is not for the dashboard`;
  return typeOnly ? undefined : `${target}: only its types are for the dashboard (import type)`;
}

describe('the dashboard', () => {
  it('imports itself, its one package, and types of the contract', () => {
    const complaints = sources.flatMap((path) =>
      importsOf(readSource(path)).flatMap(({ specifier, typeOnly, line }) => {
        const text = complaint(path, specifier, typeOnly);
        return text === undefined ? [] : [`${path}:${line}: ${text}`];
      }),
    );
    expect(complaints).toEqual([]);
    expect(sources.flatMap((path) => dynamicImportsOf(readSource(path)))).toEqual([]);
  });

  it('would notice a breach of each kind', () => {
    expect(complaint('web/src/api.ts', 'zod', false)).toBeDefined();
    expect(complaint('web/src/api.ts', '../../src/units.ts', true)).toBeDefined();
    expect(complaint('web/src/api.ts', '../../src/admin/contract.ts', false)).toContain('import type');
    expect(complaint('web/src/api.ts', '../../src/admin/contract.ts', true)).toBeUndefined();
  });

  it('keeps the key in the tab: nothing but key.ts touches where it lies', () => {
    const touching = sources.filter((path) => /\bsessionStorage\b|document\.cookie/.test(readSource(path)));
    expect(touching).toEqual(['web/src/key.ts']);
    expect(readSource('web/src/key.ts')).not.toContain('localStorage');
  });

  it('writes no markup as text', () => {
    const unsafe = /innerHTML|outerHTML|insertAdjacentHTML|document\.write/;
    expect(sources.filter((path) => unsafe.test(readSource(path)))).toEqual([]);
  });
});
