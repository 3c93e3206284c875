import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventEditor, ModelEditor } from './answer-edit.ts';
import { renameInError, shapedErrorBody } from './engine-errors.ts';

const ASKED = 'an "odd" näme';
const REPLACEMENT = Buffer.from(JSON.stringify(ASKED));

function edit(text: string, cuts: readonly number[]): string {
  const bytes = Buffer.from(text);
  const editor = new ModelEditor(REPLACEMENT);
  const out: Buffer[] = [];
  let from = 0;
  for (const end of [...cuts.map((at) => Math.min(at, bytes.length)), bytes.length].sort((a, b) => a - b)) {
    out.push(...editor.push(bytes.subarray(from, end)));
    from = end;
  }
  out.push(...editor.end());
  return Buffer.concat(out).toString();
}

function editEvents(texts: readonly string[]): string[] {
  const editor = new EventEditor(REPLACEMENT);
  return texts.map((text) => editor.edit(Buffer.from(text)).toString());
}

describe('the edit of an answer', () => {
  it('replaces the name at depth 1 and nothing else, at any split [item 42]', () => {
    const answers = fc.record({
      id: fc.string(),
      choices: fc.jsonValue({ maxDepth: 3 }),
      model: fc.string({ minLength: 1 }),
      nested: fc.record({ model: fc.string() }),
    });
    fc.assert(
      fc.property(
        answers,
        fc.array(fc.nat(300), { maxLength: 6 }),
        fc.constantFrom(undefined, 2),
        (answer, cuts, space) => {
          const text = JSON.stringify(answer, null, space);
          const expected = JSON.stringify({ ...answer, model: ASKED }, null, space);
          expect(edit(text, cuts)).toBe(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('works at every single split point, with the key escaped and space around the value', () => {
    const text = '{"a":[{"model":"no"}],"mo\\u0064el" \n:\t"ti\\u006ey" ,"b":1}';
    for (let cut = 0; cut <= text.length; cut++) {
      expect(edit(text, [cut])).toBe(`{"a":[{"model":"no"}],"mo\\u0064el" \n:\t${REPLACEMENT.toString()} ,"b":1}`);
    }
  });

  it.each([
    ['{"response":{"id":"r","model":"tiny"},"type":"response.created"}', true],
    ['{"type":"message_start","message":{"id":"m","model":"tiny"}}', true],
    ['{"choices":{"model":"tiny"}}', false],
    ['{"response":[{"model":"tiny"}]}', false],
    ['{"response":{"deep":{"model":"tiny"}}}', false],
    ['{"model":null}', false],
    ['{"model":{"name":"tiny"}}', false],
    ['[{"model":"tiny"}]', false],
    ['not json "model":"tiny"', false],
    ['{"model":"tiny', false],
  ])('of %s', (text, edited) => {
    const expected = edited ? text.replace('"tiny"', REPLACEMENT.toString()) : text;
    expect(edit(text, [])).toBe(expected);
    for (let cut = 0; cut < text.length; cut++) expect(edit(text, [cut])).toBe(expected);
  });

  it('holds back no more than its bound', () => {
    const editor = new ModelEditor(REPLACEMENT);
    const pieces = [Buffer.from('{"model":'), ...Array.from({ length: 3 }, () => Buffer.alloc(40_000, ' '))];
    const out = pieces.flatMap((piece) => editor.push(piece));
    expect(Buffer.concat(out).length).toBeGreaterThan(64 * 1024);
    expect(
      Buffer.concat([...out, ...editor.push(Buffer.from('"tiny"}')), ...editor.end()])
        .toString()
        .trimEnd(),
    ).toMatch(/"tiny"}$/);
  });

  it('reaches into an event, and leaves one without a name alone', () => {
    const frame = (data: string): string => `event: x\r\ndata: ${data}\r\n\r\n`;
    expect(editEvents([frame('{"model":"tiny","n":1}')])).toEqual([frame(`{"model":${REPLACEMENT.toString()},"n":1}`)]);
    for (const text of [frame('{"n":1}'), 'data: [DONE]\n\n', ': "model"\n\n', frame('"model"')]) {
      expect(editEvents([text])).toEqual([text]);
    }
  });

  it('goes the same in an event that begins as the one before as in the first', () => {
    const beginnings = [
      '{"id":"a","model":"tiny"',
      '{"id":"b","model":"tiny"',
      '{"id":"a","model":"tinier"',
      '{"n":{"model":"tiny"}',
    ];
    const ends = [',"n":1}', '}', ',"model":"tiny"}', ',"more":{"model":"tiny"}}', '', ', not json'];
    const frames = fc.record({
      name: fc.constantFrom('', 'event: x\n'),
      beginning: fc.constantFrom(...beginnings),
      end: fc.constantFrom(...ends),
    });
    fc.assert(
      fc.property(fc.array(frames, { minLength: 2, maxLength: 8 }), (all) => {
        const texts = all.map(({ name, beginning, end }) => `${name}data: ${beginning}${end}\n\n`);
        expect(editEvents(texts)).toEqual(texts.map((text) => editEvents([text])[0]));
      }),
      { numRuns: 300 },
    );
  });
});

describe('an engine error', () => {
  const asText = (body: string, status = 404, shape: 'openai' | 'anthropic' = 'openai') =>
    shapedErrorBody(Buffer.from(body), status, shape, 'id-1').toString();

  it('names the model as the client does', () => {
    const body = Buffer.from(
      '{"error":{"message":"The model `tiny` does not exist. Valid aliases: tiny. Not tiny-2, tinyness or tiny/x."}}',
    );
    expect(renameInError(body, 'tiny', 'my "own"').toString()).toBe(
      '{"error":{"message":"The model `my \\"own\\"` does not exist. Valid aliases: my \\"own\\". Not tiny-2, tinyness or tiny/x."}}',
    );
  });

  it('passes byte for byte when it has the shape of the route [item 43]', () => {
    const openai = '{"error":{"message":"m","type":"NotFoundError","param":"model","code":404}}';
    expect(asText(openai)).toBe(openai);
    const anthropic = '{"type":"error","error":{"type":"NotFoundError","message":"m"}}';
    expect(asText(anthropic, 404, 'anthropic')).toBe(anthropic);
  });

  it.each([
    ['{"error":"Unauthorized"}', 'Unauthorized'],
    ['{"detail":"Not Found"}', 'Not Found'],
    ['{"object":"error","message":"old shape"}', 'old shape'],
    ['plain words', 'plain words'],
    ['', 'The engine answered with status 404 and no text.'],
  ])('of another shape is wrapped: %j [item 51]', (body, message) => {
    expect(JSON.parse(asText(body))).toEqual({ error: { message, type: 'not_found_error', param: null, code: null } });
    expect(JSON.parse(asText(body, 404, 'anthropic'))).toEqual({
      type: 'error',
      error: { type: 'not_found_error', message },
      request_id: 'id-1',
    });
  });

  it('is wrapped within a bound', () => {
    expect(asText('x'.repeat(50_000)).length).toBeLessThan(5_000);
  });
});
