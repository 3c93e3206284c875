import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonScanner } from './json-scan.ts';

/** Smaller ones are looked at byte by byte. */
const SMALL = 100;

const pieces = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: 'grapheme-ascii', maxLength: 80 }) },
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
  { weight: 1, arbitrary: fc.constantFrom('\n', '"', '\\', 'é', '文', '😀', '\u0000', '\u007f') },
);
const bytes = [
  0x00, 0x09, 0x0a, 0x1f, 0x20, 0x22, 0x5c, 0x7f, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5, 0xff,
];
const faults = fc.array(fc.record({ at: fc.nat(), byte: fc.constantFrom(...bytes) }), { maxLength: 2 });

function scanned(document: Buffer, size: number): unknown {
  const values: unknown[] = [];
  const scanner = new JsonScanner(
    {
      key: (_depth, key) => key === 'model',
      value: (_depth, kind, text, start, end) => void values.push([kind, text, start, end]),
      container: () => undefined,
    },
    1,
    8,
  );
  for (let at = 0; at < document.length; at += size) if (!scanner.write(document.subarray(at, at + size))) break;
  const sound = scanner.end();
  return sound ? values : scanner.problem;
}

function isJson(document: Buffer): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(document));
    return true;
  } catch {
    return false;
  }
}

it('makes no difference to what a long text is, wherever it stands in memory, and however it is cut', () => {
  fc.assert(
    fc.property(fc.array(pieces, { minLength: 40, maxLength: 120 }), faults, fc.nat(3), (texts, broken, shift) => {
      const json = Buffer.from(JSON.stringify({ text: texts.join(''), model: 'größer 文', more: texts }));
      const room = Buffer.alloc(json.length + shift);
      json.copy(room, shift);
      const document = room.subarray(shift);
      for (const { at, byte } of broken) document[at % document.length] = byte;
      const expected = scanned(document, SMALL);
      expect(Array.isArray(expected)).toBe(isJson(document));
      for (const size of [document.length, 1_024, 1_025, 1_607]) expect(scanned(document, size)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});
