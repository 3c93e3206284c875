/** Classes J (bounds), M and P: bodies, the names in them, and the parameters that the gateway reads or leaves alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_BODY, startBench, type Bench } from './bench.ts';
import { talk } from './client.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, refuses, replay, replayTogether, type Case } from './replay.ts';
import { chunked, sized, withLength } from './write-bytes.ts';

let bench: Bench;
let prototype: unknown;
beforeAll(async () => {
  bench = await startBench();
  prototype = Object.getOwnPropertyDescriptors(Object.prototype);
});
afterAll(() => bench[Symbol.asyncDispose]());

const refused = (title: string, body: string | Buffer, code: string, status = 400): Case =>
  refuses(title, sized(body), status, code, { fate: 'stays' });
const goesOn = (title: string, body: string | Buffer): Case => accepts(title, sized(body), { body });
const unknown = (title: string, name: string): Case =>
  refused(title, JSON.stringify({ model: name, messages: [] }), 'model_not_found', 404);

const BODIES: readonly Case[] = [
  refused('[B91] an empty body', '', 'invalid_json'),
  refuses('[B91] no body at all', withLength().replace(/Content-Length[^]*/, '\r\n'), 400, 'invalid_json', {
    fate: 'stays',
  }),
  refused('[B91] blanks', ' \r\n\t ', 'invalid_json'),
  refused('[B93] two documents', '{"model":"near"}{"model":"near"}', 'invalid_json'),
  refused('[B93] a document a line', '{"model":"near"}\n{"model":"near"}\n', 'invalid_json'),
  refused('[B95] a byte order mark', '\ufeff{"model":"near"}', 'invalid_json'),
  refused('[B96] UTF-16', Buffer.from('{"model":"near"}', 'utf16le'), 'invalid_json'),
  refused('[B96] UTF-16 with its mark', Buffer.from('\ufeff{"model":"near"}', 'utf16le'), 'invalid_json'),
  refused('[B99] two models', '{"model":"near","model":"afar"}', 'model_ambiguous'),
  refused('[B99] the same model twice', '{"model":"near","model":"near"}', 'model_ambiguous'),
  refused('[B99] two models, one of them spelt in escapes', '{"model":"near","\\u006dodel":"afar"}', 'model_ambiguous'),
  refused('[B99] two models in two cases', '{"model":"near","Model":"afar"}', 'model_ambiguous'),
  goesOn(
    '[B99] stream said twice, which every parser reads as the last',
    '{"stream":false,"model":"near","stream":false}',
  ),
  goesOn('[B100] a key twice that is the engine’s', '{"model":"near","seed":1,"seed":2,"a":{"model":"x","model":"y"}}'),
  goesOn(
    '[B101] keys that every object has',
    '{"__proto__":{"polluted":1},"model":"near","constructor":{"prototype":{"polluted":1}}}',
  ),
  goesOn(
    '[B101] such keys inside',
    '{"model":"near","extra_body":{"__proto__":{"polluted":1}},"metadata":{"constructor":{"prototype":{"polluted":1}}}}',
  ),
  goesOn('[B102] as deep as may be', `{"model":"near","x":${'['.repeat(63)}${']'.repeat(63)}}`),
  refused('[B102] one level deeper', `{"model":"near","x":${'['.repeat(64)}${']'.repeat(64)}}`, 'invalid_json'),
  goesOn('[B107] numbers that no double holds', '{"model":"near","n":[9007199254740993,1e400,-0,1E5,0.1e-400,1.0]}'),
  goesOn('[B109] an escape in the key', '{"mo\\u0064el":"near"}'),
  goesOn('[B109] escapes in the name', '{"model":"near","x":"\\u0022,\\u0022model\\u0022:"}'),
  goesOn('[B98] a NUL in a content', '{"model":"near","messages":[{"content":"a\\u0000b"}]}'),
];

const NAMES: readonly Case[] = [
  refused('[B113] no model', '{"messages":[]}', 'model_missing'),
  ...['null', '7', 'true', '["near"]', '{"name":"near"}'].map((value) =>
    refused(`[B113] a model of ${value}`, `{"model":${value}}`, 'model_invalid'),
  ),
  refused('[B114] an empty name', '{"model":""}', 'model_invalid'),
  refused('[B114] a name of 257 characters', JSON.stringify({ model: 'n'.repeat(257) }), 'model_invalid'),
  refused('[B114] a name of a megabyte', JSON.stringify({ model: 'n'.repeat(200_000) }), 'model_invalid'),
  unknown('[B114] a name of 256 characters', 'n'.repeat(256)),
  unknown('[B114] a name of blanks', '   '),
  unknown('[B115] a name that nobody has', 'nope'),
  ...['../../etc/passwd', '..\\..\\windows', '/', '/near', 'near/', './near', 'C:\\near', 'file:///etc/passwd'].map(
    (name) => unknown(`[B116] the path ${name}`, name),
  ),
  accepts('[B116] a name with a slash is a name', sized('{"model":"org/pair","x":1}'), {
    body: '{"model":"pear","x":1}',
  }),
  ...['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'].map((name) =>
    unknown(`[B117] ${name}`, name),
  ),
  ...['NEAR', 'Near', 'near ', ' near', 'near.', 'near\t', 'nea'].map((name) =>
    unknown(`[B118] ${JSON.stringify(name)}`, name),
  ),
  unknown('[B119] a full-width name', 'ｎｅａｒ'),
  unknown('[B119] a zero-width joiner in a name', 'ne\u200dar'),
  unknown('[B119] a name from right to left', '\u202enear'),
  unknown('[B119] a letter of another alphabet', 'nеar'),
  unknown('[B119] a name composed and one that is not', 'ne\u0301ar'),
  ...['near:latest', 'near@main', 'near?x', 'near#x', 'ne%61r', 'near%00', 'near;x'].map((name) =>
    unknown(`[B120] ${name}`, name),
  ),
  ...['$(reboot)', '`reboot`', '; rm -rf /', '--flag', '-rf', 'near\n', '${HOME}', '{{near}}', '| cat'].map((name) =>
    unknown(`[B121] ${JSON.stringify(name)}`, name),
  ),
  unknown('[B98] a NUL in a name', 'ne\u0000ar'),
  unknown('[B88] line ends in a name', 'x\r\nX-Injected: 1\r\n\r\nHTTP/1.1 200 OK'),
];

const PARAMETERS: readonly Case[] = [
  ...['"true"', '1', 'null', '{}', '[true]'].map((value) =>
    goesOn(`[B125] a stream of ${value}`, `{"model":"near","stream":${value}}`),
  ),
  goesOn('[B126] stream options without a stream', '{"model":"near","stream_options":{"include_usage":true}}'),
  goesOn('[B127] a priority out of every range', '{"model":"near","priority":-99999999999}'),
  goesOn('[B128] a length below zero', '{"model":"near","max_tokens":-1}'),
  goesOn('[B128] a length beyond all measure', '{"model":"near","max_tokens":1000000000000}'),
  goesOn('[B129] a million answers', '{"model":"near","n":1000000}'),
  ...['-1', '0', 'NaN', '1e99', '', 'soon', '99999999999999999999'].map((value) =>
    accepts(
      `[B130] a time limit of "${value}" is none`,
      withLength(`X-Stainless-Timeout: ${value}`, `X-Stainless-Read-Timeout: ${value}`),
    ),
  ),
  goesOn(
    '[B133] an image that lies on an address of the cloud',
    '{"model":"near","messages":[{"content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}]}]}',
  ),
];

const FORM_PATH = '/v1/audio/transcriptions';
const part = (name: string, value: string, more = ''): string =>
  `--b\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
const MODEL_PART = part('model', 'near');
const FILE_PART = part('file', 'RIFF\u0000data', '; filename="a.wav"');
const form = (body: string, type = 'multipart/form-data; boundary=b'): Buffer =>
  sized(body, FORM_PATH, `Content-Type: ${type}`);
const badForm = (title: string, bytes: Buffer, code = 'invalid_body'): Case =>
  refuses(title, bytes, 400, code, { fate: 'stays' });

const FORMS: readonly Case[] = [
  accepts('[B134] a form', form(`${FILE_PART}${MODEL_PART}--b--\r\n`), { body: `${FILE_PART}${MODEL_PART}--b--\r\n` }),
  badForm('[B134] a form without a boundary', form(MODEL_PART, 'multipart/form-data')),
  badForm('[B134] a form with an empty boundary', form(MODEL_PART, 'multipart/form-data; boundary=""')),
  badForm(
    '[B134] a form with another boundary than it says',
    form(`${MODEL_PART}--b--\r\n`, 'multipart/form-data; boundary=c'),
  ),
  badForm('[B134] a form that does not end', form(MODEL_PART)),
  badForm('[B134] a form of ten thousand parts', form(`${part('x', '').repeat(5_000)}${MODEL_PART}--b--\r\n`)),
  badForm(
    '[B134] a part whose head does not end',
    form(`--b\r\nContent-Disposition: form-data; name="${'x'.repeat(10_000)}`),
  ),
  badForm('[B134] a form without a model', form(`${FILE_PART}--b--\r\n`), 'model_missing'),
  badForm('[B134] a form with two models', form(`${MODEL_PART}${part('model', 'afar')}--b--\r\n`), 'model_ambiguous'),
  badForm(
    '[B134] a form whose model is a file',
    form(`${part('model', 'near', '; filename="near"')}--b--\r\n`),
    'model_invalid',
  ),
  badForm('[B134] an empty form', form('--b--\r\n'), 'model_missing'),
  badForm('[B134] an empty body', form('')),
];

describe('a body', () => {
  it.each(BODIES)('$title', (row) => replay(bench, row));

  it('[B101] changes nothing that all objects share', () => {
    expect(Object.getOwnPropertyDescriptors(Object.prototype)).toEqual(prototype);
    expect('polluted' in {}).toBe(false);
  });
});

describe('the name of a model is looked up as it is, and never more than that', () => {
  it.each(NAMES)('$title', (row) => replay(bench, row));

  it('[B115] that is unknown is answered with the known ones', async () => {
    const { answers } = await talk({
      port: bench.port,
      pieces: [sized('{"model":"nope"}')],
      next: (all) => (all.length > 0 ? 'enough' : 'wait'),
    });
    expect(answers[0]?.body.toString()).toMatch(/known models: .*near/);
    await bench.settle({ upstream: 0, lines: 1 });
  });

  it('[B123] leaves nothing behind, however many there are', async () => {
    const metrics = async (): Promise<readonly string[]> =>
      (await (await fetch(`${bench.gateway.url}/metrics`)).text())
        .split('\n')
        .filter((line) => line.includes('model="') && !line.includes('upstream_connections'))
        .map((line) => line.replace(/ \S+$/, ''));
    await replay(bench, unknown('one', 'stranger'), 'whole');
    const before = await metrics();
    const names = Array.from({ length: 1_000 }, (_, index) => unknown(`name ${index}`, `stranger-${index}`));
    await replayTogether(bench, names, 'whole');
    expect(await metrics()).toEqual(before);
  });
});

describe('parameters are the engine’s to judge, unless the gateway reads them', () => {
  it.each(PARAMETERS)('$title', (row) => replay(bench, row));
});

describe('a form', () => {
  it.each(FORMS)('$title', (row) => replay(bench, row));
});

describe('a body at its bounds', () => {
  const padded = (before: string, after: string, size: number): string =>
    `${before}${'y'.repeat(size - before.length - after.length)}${after}`;

  it('[B104] [B110] goes on when it is as large as may be, its model first or last', async () => {
    for (const [before, after] of [
      ['{"model":"near","x":"', '"}'],
      ['{"x":"', '","model":"near"}'],
    ] as const) {
      await replay(bench, goesOn('as large as may be', padded(before, after, MAX_BODY)), 'whole');
    }
  });

  it('[B104] [B105] is refused when it is one byte longer, with a length or in chunks', async () => {
    const long = padded('{"model":"near","x":"', '"}', MAX_BODY + 1);
    await replay(bench, refuses('with a length', sized(long), 413, 'request_too_large'), 'whole');
    const pieces = `${(MAX_BODY + 1).toString(16)}\r\n${long}`;
    await replay(bench, refuses('in chunks, before it ended', chunked(pieces), 413, 'request_too_large'), 'whole');
  });

  it('[B102] is refused as soon as it is too deep', async () => {
    const deep = '['.repeat(5_000_000);
    await replay(bench, refuses('five million brackets', sized(deep), 400, 'invalid_json'), 'whole');
  });

  it('[B103] of very many messages goes on', async () => {
    const messages = Array.from({ length: 200_000 }, () => '{"role":"user","content":""}').join(',');
    await replay(bench, goesOn('200 000 messages', `{"messages":[${messages}],"model":"near"}`), 'whole');
  });
});

othersAgree(() => bench, 30);
