import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundaryOf, MultipartBody } from './multipart.ts';

const BOUNDARY = 'XYZ-42';

interface Part {
  readonly head: string;
  readonly content: string | Buffer;
}

const field = (name: string, content: string): Part => ({
  head: `Content-Disposition: form-data; name="${name}"`,
  content,
});
const file = (name: string, content: string | Buffer): Part => ({
  head: `Content-Disposition: form-data; name="${name}"; filename="a.wav"\r\nContent-Type: audio/wav`,
  content,
});

function form(...parts: readonly Part[]): Buffer {
  return Buffer.concat([
    ...parts.flatMap(({ head, content }) => [
      Buffer.from(`--${BOUNDARY}\r\n${head}\r\n\r\n`),
      Buffer.from(content),
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`--${BOUNDARY}--\r\n`),
  ]);
}

function read(bytes: Buffer, cuts: readonly number[] = []): { body: MultipartBody; code: string | null } {
  const body = new MultipartBody(BOUNDARY);
  let from = 0;
  for (const end of [...cuts, bytes.length]) {
    const problem = body.add(bytes.subarray(from, end));
    if (problem !== null) return { body, code: problem.code };
    from = end;
  }
  return { body, code: body.finish()?.code ?? null };
}

function rendered(body: MultipartBody, served: string): Buffer {
  const out = body.render(served, new Map());
  return Buffer.isBuffer(out) ? out : Buffer.concat(out);
}

describe('a multipart body', () => {
  const audio = Buffer.from(`RIFF\r\n--XYZ-4\r\n--XYZ\r\n\r\n\u0000`, 'latin1');

  it('has its model found and replaced, every other byte untouched, at every split point [item 50]', () => {
    const parts = (model: string): Buffer =>
      form(file('file', audio), field('model', model), field('stream', 'true'), field('x', ''));
    const bytes = parts('my-älias');
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { body, code } = read(bytes, [cut]);
      expect([cut, code, body.model, body.stream]).toEqual([cut, null, 'my-älias', true]);
      expect(rendered(body, 'tiny').equals(parts('tiny'))).toBe(true);
      expect(rendered(body, 'my-älias').equals(bytes)).toBe(true);
    }
  });

  it('is read alike at random splits of random contents', () => {
    const contents = fc.array(fc.constantFrom('\r', '\n', '-', '--XYZ', '--XYZ-42x', 'a', '\r\n--', '\u0000'), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(contents, fc.array(fc.nat(400), { maxLength: 8 }), (parts, cuts) => {
        // A file must not hold the delimiter; that is what makes it one.
        const content = parts.join('').replaceAll(`\r\n--${BOUNDARY}`, '');
        fc.pre(!`\r\n${content}\r\n`.includes(`\r\n--${BOUNDARY}`));
        const bytes = form(file('file', content), field('model', 'tiny'));
        const sorted = cuts.map((at) => Math.min(at, bytes.length)).sort((a, b) => a - b);
        const { body, code } = read(bytes, sorted);
        expect(code).toBe(null);
        expect(body.model).toBe('tiny');
        expect(rendered(body, 'other').equals(form(file('file', content), field('model', 'other')))).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['no part', Buffer.from(`--${BOUNDARY}--\r\n`), 'model_missing'],
    ['no model', form(file('file', 'x')), 'model_missing'],
    ['two models', form(field('model', 'tiny'), field('model', 'tiny')), 'model_ambiguous'],
    ['a model in two cases', form(field('model', 'tiny'), field('Model', 'tiny')), 'model_ambiguous'],
    ['an empty model', form(field('model', '')), 'model_invalid'],
    ['a file for a model', form(file('model', 'tiny')), 'model_invalid'],
    ['a model that is not UTF-8', form({ ...field('model', ''), content: Buffer.from([0xff]) }), 'model_invalid'],
    ['a very long model', form(field('model', 'a'.repeat(100_000))), 'model_invalid'],
    ['a cut body', form(field('model', 'tiny')).subarray(0, -6), 'invalid_body'],
    ['nothing', Buffer.alloc(0), 'invalid_body'],
    ['JSON', Buffer.from('{"model":"tiny"}'), 'invalid_body'],
    ['too many parts', form(...Array.from({ length: 10_000 }, (_, index) => field(`f${index}`, 'x'))), 'invalid_body'],
    ['an endless part head', Buffer.from(`--${BOUNDARY}\r\nX: ${'y'.repeat(20_000)}`), 'invalid_body'],
  ])('with %s is refused', (_name, bytes, code) => {
    expect(read(bytes).code).toBe(code);
  });

  it.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data; charset=utf-8; boundary="a b:c"', 'a b:c'],
    ['multipart/form-data', undefined],
    ['multipart/mixed; boundary=abc', undefined],
    ['application/json', undefined],
    [`multipart/form-data; boundary=${'a'.repeat(71)}`, undefined],
  ])('has the boundary of %s', (type, boundary) => {
    expect(boundaryOf(type)).toBe(boundary);
  });
});
