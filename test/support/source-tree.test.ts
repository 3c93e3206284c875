import { describe, expect, it } from 'vitest';
import { blank, dynamicImportsOf, functionsOf, importsOf } from './source-tree.ts';

describe('the reader of sources', () => {
  it('finds static imports and re-exports over several lines, and tells types from values', () => {
    const source = [
      "import type { A } from './a.ts';",
      "import { b } from '../b.ts';",
      "import { type C, d } from 'c';",
      "import './side-effect.ts';",
      'export {',
      '  e,',
      "} from './e.ts';",
      "export * from './f.ts';",
      "export type { G } from './g.ts';",
      "import type from './h.ts';",
      "// import { no } from './comment.ts';",
      "export const text = 'not from this';",
    ].join('\n');
    expect(importsOf(source).map(({ specifier, typeOnly, line }) => [specifier, typeOnly, line])).toEqual([
      ['./a.ts', true, 1],
      ['../b.ts', false, 2],
      ['c', false, 3],
      ['./side-effect.ts', false, 4],
      ['./e.ts', false, 5],
      ['./f.ts', false, 8],
      ['./g.ts', true, 9],
      ['./h.ts', false, 10],
    ]);
  });

  it('finds dynamic imports in code and in types, but not in strings and comments', () => {
    const source = "const a = await import('x');\nlet b: import('y').Z;\n// import('z')\nconst c = `import('w')`;";
    expect(dynamicImportsOf(source)).toEqual([1, 2]);
  });

  it('blanks strings, templates, comments and regular expressions and leaves the code between', () => {
    const source = "a('{'); b = `x${c ? `{${d}` : '}'}y{`; /* { */ e = /[/{]}/g; f = g / h; // {";
    const code = blank(source);
    expect(code).toHaveLength(source.length);
    expect(code.split('{')).toHaveLength(code.split('}').length);
    for (const name of ['a(', 'c ?', 'd', 'e =', 'f = g / h']) expect(code).toContain(name);
  });

  it('measures functions, arrows and methods', () => {
    const source = [
      'export function one(a: number): number {',
      '  return a;',
      '}',
      'const two = (b: string): string => {',
      '  if (b) {',
      "    return '}';",
      '  }',
      '  return b;',
      '};',
      'class Three {',
      '  async four(): Promise<void> {',
      '    await two;',
      '  }',
      '}',
    ].join('\n');
    expect(functionsOf(source).map(({ name, line, lines }) => [name, line, lines])).toEqual([
      ['one', 1, 3],
      ['two', 4, 6],
      ['four', 11, 3],
    ]);
  });
});
