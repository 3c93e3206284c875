import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOf } from './byte-ranges.ts';
import { JsonBody } from './json-body.ts';
import { JsonScanner } from './json-scan.ts';

const NONE: ReadonlyMap<string, string> = new Map();

function read(text: string | Buffer, cuts: readonly number[] = []): { body: JsonBody; code: string | null } {
  const bytes = Buffer.from(text);
  const body = new JsonBody();
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    const problem = body.add(bytes.subarray(from, cut));
    if (problem !== null) return { body, code: problem.code };
    from = cut;
  }
  return { body, code: body.finish()?.code ?? null };
}

function rendered(body: JsonBody, served: string, defaults = NONE): Buffer {
  const out = body.render(served, defaults);
  const whole = Buffer.isBuffer(out) ? out : Buffer.concat(out);
  expect(whole.length).toBe(bytesOf(out));
  return whole;
}

const keys = fc.oneof(
  fc.constantFrom('stream', 'messages', 'temperature', '__proto__', 'constructor', 'modell', 'ключ'),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);
const bodies = fc
  .tuple(
    fc.array(fc.tuple(keys, fc.jsonValue({ maxDepth: 4 })), { maxLength: 6 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
    fc.nat(6),
    fc.constantFrom(undefined, 1, '\t'),
  )
  .map(([entries, model, at, space]) => {
    const others = entries.filter(([key]) => key.toLowerCase() !== 'model');
    const object = Object.fromEntries([...others.slice(0, at), ['model', model], ...others.slice(at)]);
    return { object, model, text: JSON.stringify(object, null, space) };
  });
const cutsOf = (length: number) => fc.array(fc.nat(length), { maxLength: 5 }).map((cuts) => cuts.sort((a, b) => a - b));

describe('a JSON body', () => {
  it('is the shallow merge of client and defaults after the edits, with every other byte untouched [items 23, 41]', () => {
    const defaults = fc.dictionary(
      keys.filter((key) => key.toLowerCase() !== 'model'),
      fc.jsonValue({ maxDepth: 2 }),
      { maxKeys: 4 },
    );
    const sample = bodies.chain((body) =>
      fc.tuple(fc.constant(body), defaults, fc.string({ unit: 'grapheme', minLength: 1 }), cutsOf(body.text.length)),
    );
    fc.assert(
      fc.property(sample, ([{ object, model, text }, given, served, cuts]) => {
        const { body, code } = read(text, cuts);
        expect(code).toBe(null);
        expect(body.model).toBe(model);
        expect(body.stream).toBe(object['stream'] === true);
        const map = new Map(Object.entries(given).map(([key, value]) => [key, JSON.stringify(value)]));
        const out = rendered(body, served, map).toString();
        const merged = JSON.parse(out) as unknown;
        const expected = Object.fromEntries([
          ...Object.entries(given),
          ...Object.entries(JSON.parse(text) as object),
          ['model', served],
        ]);
        expect(merged).toEqual(JSON.parse(JSON.stringify(expected)));
        // Taking the edits out again gives back the client's bytes.
        const inserted = [...map].filter(([key]) => !(key in object && Object.hasOwn(object, key)));
        const prefix = inserted.map(([key, json]) => `${JSON.stringify(key)}:${json},`).join('');
        expect(rendered(body, model, map).toString()).toBe(`${text.slice(0, 1)}${prefix}${text.slice(1)}`);
        expect(rendered(body, model).equals(Buffer.from(text))).toBe(true);
      }),
      { numRuns: 400 },
    );
  });

  it('gives the same result at every split point', () => {
    const text =
      '{"a":{"model":"no"},"mo\\u0064el" : "ti\\u00f6ny","stream":true,"n":-1.5e+10,"ü":["ключ",null,false]}';
    const length = Buffer.byteLength(text);
    const whole = rendered(
      read(text).body,
      'served',
      new Map([
        ['n', '1'],
        ['k', '2'],
      ]),
    );
    expect(JSON.parse(whole.toString())).toMatchObject({ k: 2, n: -1.5e10, model: 'served' });
    for (let cut = 0; cut <= length; cut++) {
      const { body, code } = read(text, [cut]);
      expect([cut, code, body.model, body.stream]).toEqual([cut, null, 'tiöny', true]);
      expect(
        rendered(
          body,
          'served',
          new Map([
            ['n', '1'],
            ['k', '2'],
          ]),
        ).equals(whole),
      ).toBe(true);
    }
    const single = read(
      text,
      Array.from({ length }, (_, index) => index),
    );
    expect(single.code).toBe(null);
    expect(
      rendered(
        single.body,
        'served',
        new Map([
          ['k', '2'],
          ['n', '1'],
        ]),
      ).equals(whole),
    ).toBe(true);
  });

  it('agrees with JSON.parse on what is JSON, at any split', () => {
    const pieces = fc.constantFrom(
      ...[
        '{',
        '}',
        '[',
        ']',
        ':',
        ',',
        '"',
        '"a"',
        '\\',
        '\\u00',
        '0',
        '-',
        '1',
        '.5',
        'e',
        '+',
        'true',
        'nul',
        'l',
        ' ',
        '\n',
        '\u0001',
        'é',
        '\ufeff',
      ],
    );
    const texts = fc.oneof(
      fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join('')),
      fc
        .json()
        .chain((json) =>
          fc
            .tuple(fc.constant(json), fc.nat(json.length), fc.string({ maxLength: 1 }))
            .map(([text, at, extra]) => text.slice(0, at) + extra + text.slice(at)),
        ),
    );
    const sink = { key: () => false, value: () => undefined, container: () => undefined };
    fc.assert(
      fc.property(texts, fc.nat(40), (text, cut) => {
        const bytes = Buffer.from(text);
        const scanner = new JsonScanner(sink, 1, 64);
        const accepted = scanner.write(bytes.subarray(0, cut)) && scanner.write(bytes.subarray(cut)) && scanner.end();
        // What JSON.parse sees is what the bytes say: a lone surrogate became a replacement character on the way.
        expect(accepted).toBe(parses(bytes.toString()));
      }),
      { numRuns: 3_000 },
    );
  });

  it.each([
    ['nothing', '', 'invalid_json'],
    ['white space', ' \r\n\t', 'invalid_json'],
    ['a cut document', '{"model":"tiny"', 'invalid_json'],
    ['two documents', '{"model":"tiny"}{"model":"tiny"}', 'invalid_json'],
    ['a trailing comma', '{"model":"tiny",}', 'invalid_json'],
    ['a comment', '{"model":"tiny"/**/}', 'invalid_json'],
    ['single quotes', "{'model':'tiny'}", 'invalid_json'],
    ['NaN', '{"model":"tiny","n":NaN}', 'invalid_json'],
    ['a leading zero', '{"model":"tiny","n":01}', 'invalid_json'],
    ['a byte order mark', '\ufeff{"model":"tiny"}', 'invalid_json'],
    ['UTF-16', Buffer.from('{"model":"tiny"}', 'utf16le'), 'invalid_json'],
    ['a lone continuation byte', Buffer.from([...Buffer.from('{"model":"'), 0x80, 0x22, 0x7d]), 'invalid_json'],
    ['an overlong form', Buffer.from([...Buffer.from('{"model":"'), 0xc0, 0xaf, 0x22, 0x7d]), 'invalid_json'],
    ['an encoded surrogate', Buffer.from([...Buffer.from('{"model":"'), 0xed, 0xa0, 0x80, 0x22, 0x7d]), 'invalid_json'],
    [
      'a code point too high',
      Buffer.from([...Buffer.from('{"model":"'), 0xf4, 0x90, 0x80, 0x80, 0x22, 0x7d]),
      'invalid_json',
    ],
    ['a depth of 65', `{"model":"tiny","a":${'['.repeat(64)}${']'.repeat(64)}}`, 'invalid_json'],
    ['an array', '["model"]', 'invalid_body'],
    ['a string', '"model"', 'invalid_body'],
    ['a number', '1', 'invalid_body'],
    ['null', 'null', 'invalid_body'],
    [
      'too many keys',
      `{${Array.from({ length: 5_000 }, (_, index) => `"k${index}":0,`).join('')}"model":"tiny"}`,
      'invalid_body',
    ],
    ['no model', '{"messages":[]}', 'model_missing'],
    ['only a model in another case', '{"Model":"tiny"}', 'model_missing'],
    ['a model below the top', '{"a":{"model":"tiny"}}', 'model_missing'],
    ['a null model', '{"model":null}', 'model_invalid'],
    ['a numeric model', '{"model":5}', 'model_invalid'],
    ['a list for a model', '{"model":["tiny"]}', 'model_invalid'],
    ['an object for a model', '{"model":{"a":1}}', 'model_invalid'],
    ['an empty model', '{"model":""}', 'model_invalid'],
    ['a model of 257 characters', `{"model":"${'a'.repeat(257)}"}`, 'model_invalid'],
    ['a model of 10 000 characters', `{"model":"${'a'.repeat(10_000)}"}`, 'model_invalid'],
    ['two models', '{"model":"tiny","model":"tiny"}', 'model_ambiguous'],
    ['two models, one escaped', '{"model":"tiny","mo\\u0064el":"other"}', 'model_ambiguous'],
    ['two models, one in another case', '{"MODEL":"other","model":"tiny"}', 'model_ambiguous'],
  ])('refuses %s [item 26]', (_name, text, code) => {
    expect(read(text).code).toBe(code);
  });

  it('refuses every cut of a body and takes the whole', () => {
    const text = '{"model":"tiny","messages":[{"role":"user","content":"h\\u00fc"}],"n":1}';
    for (let end = 0; end < text.length; end++) expect(read(text.slice(0, end)).code).toBe('invalid_json');
    expect(read(text).code).toBe(null);
  });

  it.each(['9007199254740993', '1e400', '-0', '1E5', '1'.repeat(400), '"\\ud800"', '"\\u0000"', '{"a":1,"a":2}'])(
    'sends %s on untouched',
    (value) => {
      const text = `{"x":${value},"model":"alias","y": ${value} }`;
      expect(rendered(read(text).body, 'tiny').toString()).toBe(text.replace('alias', 'tiny'));
    },
  );

  it('pollutes no prototype', () => {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const { body, code } = read(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"model":"tiny"}',
    );
    expect(code).toBe(null);
    rendered(body, 'other', new Map([['__proto__', '1']]));
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
    expect('polluted' in {}).toBe(false);
  });

  it('finds a model that is last in a large body, without joining the chunks', () => {
    const filler = Buffer.from(`{"messages":["${'é'.repeat(100_000)}`);
    const chunks = [filler, Buffer.from('y'.repeat(65_536)), Buffer.from('"],"model":"alias"}')];
    const body = new JsonBody();
    for (const chunk of chunks) expect(body.add(chunk)).toBe(null);
    expect(body.finish()).toBe(null);
    const out = body.render('tiny', NONE);
    expect(Array.isArray(out) && out[0] === filler).toBe(true);
    expect(rendered(body, 'tiny').toString().endsWith('"],"model":"tiny"}')).toBe(true);
  });
});

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
