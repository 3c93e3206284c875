/**
 * JSON texts that parsers are known to disagree about, and what RFC 8259 says of them. `choice`: the standard leaves it
 * open, and this is what the gateway does. Each is tried as a whole body and as a value deep inside of one.
 */

export interface JsonDocument {
  readonly bytes: Buffer;
  readonly verdict: 'accept' | 'reject';
  readonly choice: boolean;
}

const text = (
  verdict: JsonDocument['verdict'],
  choice: boolean,
  ...texts: readonly string[]
): readonly JsonDocument[] => texts.map((document) => ({ bytes: Buffer.from(document), verdict, choice }));
const hex = (verdict: JsonDocument['verdict'], choice: boolean, ...texts: readonly string[]): readonly JsonDocument[] =>
  texts.map((document) => ({ bytes: Buffer.from(document.replaceAll(' ', ''), 'hex'), verdict, choice }));

const accept = (...texts: readonly string[]): readonly JsonDocument[] => text('accept', false, ...texts);
const reject = (...texts: readonly string[]): readonly JsonDocument[] => text('reject', false, ...texts);

const STRUCTURE: readonly JsonDocument[] = [
  ...accept('[]', '{}', '[[]]', '[{}]', '{"":0}', '{"a":{}}', '[[],{},"",0,true,false,null]', '[null]', '{"a":[]}'),
  ...accept(
    ' [] ',
    '\t{\n}\r\n',
    '[ 1 , 2 ]',
    '{ "a" : 1 , "b" : 2 }',
    '[\r\n1\r\n]',
    '{"a":1,"a":1}',
    '{"a":1,"a":2}',
  ),
  ...accept('{"__proto__":{"x":1}}', '{"constructor":{"prototype":{"x":1}}}', '{"toString":1,"hasOwnProperty":2}'),
  ...reject('[', '{', ']', '}', '[[', '[}', '{]', '[1', '[1,', '[1,]', '[,1]', '[,]', '[1,,2]', '[1 2]', '[1;2]'),
  ...reject('{"a"}', '{"a":}', '{"a":1,}', '{,"a":1}', '{"a":1 "b":2}', '{"a" "b"}', '{"a"::1}', '{a:1}', '{1:1}'),
  ...reject('{null:1}', '{[]:1}', '{"a":1', '{"a":', '{"a"', '{"a":1,,"b":2}', '{"a":1;"b":2}', '{"a"=1}', '{"a",1}'),
  ...reject('[]]', '{}}', '[][]', '{}{}', '[] []', '{}\n{}', '1 2', 'null null', '"a""b"', '[]x', '{}#', '[1]\u0000'),
  ...reject('', ' ', '\n', '\u0000', ',', ':', '(1)', '<x/>', '[1]//x', '[1/*x*/]', '/**/[1]', '#x\n[1]', '--[1]'),
  ...reject('[\u000b1]', '[\u000c1]', '[\u00a01]', '[\u20281]', '\u2060[1]', '[1]\u0085', '{"a":1}\u3000'),
];

const WORDS: readonly JsonDocument[] = [
  ...accept('true', 'false', 'null', '[true,false,null]'),
  ...reject('True', 'FALSE', 'nul', 'nulll', 'tru', 'truee', 'fals', 'undefined', 'NaN', 'Infinity', '-Infinity'),
  ...reject('+Infinity', 'inf', 'None', 'yes', '[nan]', '[t]', '[true', 'nil', 'n\u0000ull', 'ｔｒｕｅ'),
];

const NUMBERS: readonly JsonDocument[] = [
  ...accept('0', '-0', '1', '-1', '10', '0.0', '-0.0', '1.5', '1e0', '1E5', '1e+5', '1e-5', '0e0', '0E+0', '1.0e-07'),
  ...accept('123456789', '-123.456e789', '0.1e1', '[0]', '[-0,0]', '1e0000000001'),
  ...text('accept', true, '9007199254740993', '1e400', '-1e400', '1e-400', '123456789012345678901234567890'),
  ...text('accept', true, '9'.repeat(400), `0.${'1'.repeat(400)}`, `1e${'9'.repeat(60)}`, '[1e9999,-1e9999]'),
  ...reject('+1', '01', '-01', '00', '0123', '.5', '1.', '1.e1', '-', '-.5', '1e', '1e+', '1E-', '1ee1', '1.2.3'),
  ...reject(
    '0x10',
    '0b1',
    '0o7',
    '1_000',
    '1,5',
    '1 000',
    '--1',
    '-+1',
    '1-',
    '1+1',
    '1f',
    '1n',
    '٣',
    '１',
    '0e',
    '1e1.5',
  ),
];

const STRINGS: readonly JsonDocument[] = [
  ...accept('""', '"a"', '" "', '"\\""', '"\\\\"', '"\\/"', '"/"', '"\\b\\f\\n\\r\\t"', '"\\u0041"', '"\\u00e9"'),
  ...accept('"é"', '"日本語"', '"😀"', '"\\ud83d\\ude00"', '"\\u0000"', '"\u007f"', '"\u2028\u2029"', '"\ufeff"'),
  ...accept('"\\uD834\\uDD1E"', '"\\u2028"', '"\\\\u0041"', '"//"', '"/*x*/"', '"\uffff"', '"\u{10ffff}"'),
  ...text(
    'accept',
    true,
    '"\\ud800"',
    '"\\udc00"',
    '"\\ud800\\ud800"',
    '"\\udc00\\ud800"',
    '"\\ud800x"',
    '"\\uDFFF\\u0041"',
  ),
  ...reject('"', '"a', 'a"', "'a'", '"\\"', '"\\a"', '"\\x41"', '"\\0"', '"\\u"', '"\\u004"', '"\\u00G0"', '"\\U0041"'),
  ...reject(
    '"\\u{41}"',
    '"\n"',
    '"\t"',
    '"\r"',
    '"\u0000"',
    '"\u0001"',
    '"\u001f"',
    '"\\\n"',
    '"\\v"',
    '"\\\'"',
    '`a`',
  ),
  ...reject('"\\ud83d\\u"', '"\\u 041"', '"\\u-041"', '“a”', '"a"b"', '"\\u00', '"\\uD800\\'),
];

/** `22` is a quotation mark. */
const BYTES: readonly JsonDocument[] = [
  ...hex(
    'accept',
    false,

    '22 e282ac 22',

    '22 efbfbd 22',
    '22 c280 22',
  ),
  ...hex(
    'reject',
    false,
    '22 80 22',
    '22 bf 22',
    '22 e9 22',
    '22 ff 22',
    '22 fe 22',
    '22 c0 80 22',
    '22 c1 bf 22',
    '22 c3 22',
  ),
  ...hex('reject', false, '22 e0 80 80 22', '22 e0 9f bf 22', '22 f0 80 80 80 22', '22 f0 8f bf bf 22', '22 e2 82 22'),
  ...hex(
    'reject',
    false,
    '22 ed a0 80 22',
    '22 ed bf bf 22',
    '22 ed a0 bd ed b8 80 22',
    '22 f4 90 80 80 22',
    '22 f5 80 80 80 22',
  ),
  ...hex(
    'reject',
    false,
    '22 f8 88 80 80 80 22',
    '22 fc 84 80 80 80 80 22',
    '22 f0 9f 98 22',
    '22 e2 28 a1 22',
    '22 c3 28 22',
  ),
  ...hex(
    'reject',
    false,
    'e9',
    '80',
    '5b ff 5d',
    '22 c3',
    '7b 22 e9 22 3a 31 7d',
    '22 5c c3 a9 22',
    '22 5c 75 c3 a9 22',
  ),
  ...hex('reject', true, 'efbbbf 7b7d', 'efbbbf 5b5d', 'efbbbf 22 61 22', 'efbbbf', 'efbb 5b5d'),
  ...hex(
    'reject',
    true,
    'fffe 7b00 7d00',
    'feff 007b 007d',
    '7b00 7d00',
    '007b 007d',
    '7b000000 7d000000',
    '0000feff 0000007b 0000007d',
  ),
];

export const DOCUMENTS: readonly JsonDocument[] = [...STRUCTURE, ...WORDS, ...NUMBERS, ...STRINGS, ...BYTES];

/** What JSON.parse makes of bytes that must be UTF-8. A byte order mark is kept, and so refused. */
export function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}
