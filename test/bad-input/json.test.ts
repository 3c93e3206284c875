/** Class J, its grammar: what is JSON goes on byte for byte, what is not is refused, however it is cut. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBench, type Bench } from './bench.ts';
import { DOCUMENTS, isJson, type JsonDocument } from './json-documents.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, refuses, replayTogether, type Case } from './replay.ts';
import { shown } from './unambiguous.ts';
import { sized } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const around = (before: string, { bytes }: JsonDocument, after: string): Buffer =>
  Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]);
const refused = (body: Buffer, code: string): Case => refuses(shown(body), sized(body), 400, code, { fate: 'stays' });

/** Of a sound body without a model. */
function problemOf(body: Buffer): string {
  const root: unknown = JSON.parse(body.toString());
  return typeof root === 'object' && root !== null && !Array.isArray(root) ? 'model_missing' : 'invalid_body';
}

function caseOf(body: Buffer): Case {
  return isJson(body) ? accepts(shown(body), sized(body), { body }) : refused(body, 'invalid_json');
}

describe('the corpus of JSON texts', () => {
  it('holds more than a hundred of each kind, once, and says of each what JSON.parse says', () => {
    for (const { bytes, verdict } of DOCUMENTS)
      expect([shown(bytes), isJson(bytes)]).toEqual([shown(bytes), verdict === 'accept']);
    expect(new Set(DOCUMENTS.map(({ bytes }) => bytes.toString('hex'))).size).toBe(DOCUMENTS.length);
    expect(DOCUMENTS.filter(({ verdict, choice }) => verdict === 'accept' && !choice).length).toBeGreaterThan(60);
    expect(DOCUMENTS.filter(({ verdict, choice }) => verdict === 'reject' && !choice).length).toBeGreaterThan(150);
    expect(DOCUMENTS.filter(({ choice }) => choice).length).toBeGreaterThan(20);
  });
});

describe('a JSON text', () => {
  it('[B91] [B92] [B93] [B94] [B95] [B96] [B108] [B112] as a whole body is refused for what is wrong with it', async () => {
    const cases = DOCUMENTS.map(({ bytes }) => refused(bytes, isJson(bytes) ? problemOf(bytes) : 'invalid_json'));
    await replayTogether(bench, cases);
  });

  it('[B94] [B97] [B98] [B100] [B101] [B107] [B112] as a message’s content goes on byte for byte, or is refused', async () => {
    const before = '{"model":"near","messages":[{"role":"user","content":';
    await replayTogether(
      bench,
      DOCUMENTS.map((document) => caseOf(around(before, document, '}],"n":1}'))),
    );
  });

  it('[B109] [B112] before the model is checked as well as behind it', async () => {
    await replayTogether(
      bench,
      DOCUMENTS.map((document) => caseOf(around('{"extra_body":', document, ',"model":"near"}'))),
    );
  });

  it('[B92] that is cut off at any byte is refused', async () => {
    const whole = Buffer.from(
      '{"model":"near","messages":[{"content":"h\\u00e9 é😀"}],"t":-1.5e+3,"n":[true,null,{}]}',
    );
    const prefixes = Array.from(whole.subarray(1), (_, length) => whole.subarray(0, length));
    await replayTogether(bench, [...prefixes.map((prefix) => refused(prefix, 'invalid_json')), caseOf(whole)]);
  });

  it('[B111] that arrives in any two pieces is the same', async () => {
    const body = Buffer.from('{"mess\\u0061ges":["é😀\\ud83d\\ude00"],"mo\\u0064el":"near","x":-12.5E+3}');
    await replayTogether(bench, [accepts(shown(body), sized(body), { body })], 'every');
  });
});

othersAgree(() => bench, 300);
