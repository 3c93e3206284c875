/** Class S: where a request ends. Every row is sent whole, byte by byte and cut in two at every point. */
import { afterAll, beforeAll, describe, it } from 'vitest';
import { startBench, type Bench } from './bench.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, answers, refuses, replay, type Case } from './replay.ts';
import { BODY, chunked, crlf, get, latin1, ONE_CHUNK, post, withLength } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const bad = (title: string, bytes: string | Buffer): Case => refuses(title, bytes, 400, 'invalid_body');
const badLength = (title: string, value: string): Case => bad(title, post([`Content-Length: ${value}`]));
const badCoding = (title: string, value: string): Case =>
  bad(title, latin1(chunked(`${ONE_CHUNK}0\r\n\r\n`, `Transfer-Encoding: ${value}`)));
const badSize = (title: string, size: string): Case => bad(title, chunked(`${size}\r\n${BODY}\r\n0\r\n\r\n`));
const LENGTH = `Content-Length: ${BODY.length}`;
const CHUNKED = 'Transfer-Encoding: chunked';

// A tab is as good as a space around a value (RFC 9112 §5). Node's parser allows it beside a length from its 9.4 line on.
const [major = 0, minor = 0] = (process.versions['llhttp'] ?? '').split('.').map(Number);
const TAB_IS_A_BLANK = major > 9 || (major === 9 && minor >= 4);

const LENGTHS: readonly Case[] = [
  bad('[B1] a length, then chunks', chunked('0\r\n\r\n', 'Content-Length: 5', CHUNKED)),
  bad(
    '[B1] a length, then chunks, in another case',
    chunked('0\r\n\r\n', 'content-LENGTH: 5', 'TRANSFER-encoding: chunked'),
  ),
  bad('[B2] chunks, then a length', chunked('0\r\n\r\n', CHUNKED, 'Content-Length: 5')),
  bad('[B2] chunks, then a length of nothing', chunked('0\r\n\r\n', CHUNKED, 'Content-Length: 0')),
  bad('[B3] two lengths that differ', withLength('Content-Length: 7')),
  bad('[B3] two lengths, the first of them nothing', post(['Content-Length: 0', LENGTH])),
  bad('[B4] the same length twice', withLength(LENGTH)),
  badLength('[B5] a list of lengths', '16, 16'),
  badLength('[B5] a list without a space', '1,1'),
  badLength('[B6] a length with a plus', '+16'),
  badLength('[B6] a length below zero', '-1'),
  badLength('[B6] a length in hexadecimal', '0x10'),
  badLength('[B6] a length with an underscore', '1_6'),
  badLength('[B6] a length with an exponent', '1e1'),
  badLength('[B6] a length and a letter', '16Z'),
  badLength('[B6] a length with a fraction', '16.0'),
  badLength('[B6] a length with a space inside', '1 6'),
  TAB_IS_A_BLANK
    ? accepts('[B6] a length and a tab behind it, which is no part of the value', post(['Content-Length: 16\t']))
    : badLength('[B6] a length and a tab', '16\t'),
  badLength('[B7] an empty length', ''),
  badLength('[B7] a length of blanks', '   '),
  badLength('[B9] a length beyond 64 bits', '18446744073709551617'),
  badLength('[B9] a length that wraps around to the right one', '18446744073709551632'),
  bad('[B11] a space before the colon of a length', post(['Content-Length : 16'])),
  bad('[B11] a tab before the colon of a coding', chunked('0\r\n\r\n', 'Transfer-Encoding\t: chunked')),
  bad('[B12] a length without a colon', post(['Content-Length 16'])),
  refuses(
    '[B10] a length of 2⁵³ is refused before a byte of the body',
    post(['Content-Length: 9007199254740992'], ''),
    413,
    'request_too_large',
  ),
  refuses(
    '[B10] a length one beyond the limit',
    post([`Content-Length: ${12 * 1024 * 1024 + 1}`], ''),
    413,
    'request_too_large',
  ),
];

const CODINGS: readonly Case[] = [
  badCoding('[B13] an empty coding before chunked', ',chunked'),
  badCoding('[B13] an empty coding and a space before chunked', ' , chunked'),
  badCoding('[B14] an empty coding after chunked', 'chunked,'),
  badCoding('[B15] identity', 'identity'),
  badCoding('[B15] a coding that ends with chunked', 'xchunked'),
  badCoding('[B15] a coding that begins with chunked', 'chunkedx'),
  badCoding('[B15] chunked between quotes', '"chunked"'),
  badCoding('[B15] chunked with a parameter', 'chunked;q=1'),
  badCoding('[B15] an empty coding', ''),
  badCoding('[B16] compression below the chunks', 'gzip, chunked'),
  badCoding('[B17] compression above the chunks', 'chunked, gzip'),
  badCoding('[B18] chunked twice in one field', 'chunked, chunked'),
  bad('[B18] chunked in two fields', chunked('0\r\n\r\n', CHUNKED, CHUNKED)),
  bad('[B18] identity and chunked in two fields', chunked('0\r\n\r\n', 'Transfer-Encoding: identity', CHUNKED)),
  badCoding('[B20] a vertical tab before chunked', '\u000bchunked'),
  badCoding('[B20] a form feed before chunked', '\u000cchunked'),
  badCoding('[B20] a no-break space before chunked', '\u00a0chunked'),
  badCoding('[B20] a next-line before chunked', '\u0085chunked'),
  badCoding('[B20] a NUL behind chunked', 'chunked\u0000'),
  bad('[B21] chunks in HTTP/1.0', chunked(`${ONE_CHUNK}0\r\n\r\n`).replace('HTTP/1.1', 'HTTP/1.0')),
  bad('[B22] an unknown coding beside a length', withLength('Transfer-Encoding: xchunked')),
  bad('[B22] an unknown coding before a length', post(['Transfer-Encoding: x', LENGTH])),
];

const HEADS: readonly Case[] = [
  bad('[B23] a folded value', withLength('X: a', ' b')),
  bad('[B23] a folded coding', chunked('0\r\n\r\n', 'Transfer-Encoding:', ' chunked')),
  bad('[B23] a folded length', post(['Content-Length:', '\t16'])),
  bad(
    '[B24] a space before the first field',
    crlf('POST /v1/chat/completions HTTP/1.1', ' Host: localhost', LENGTH, '', BODY),
  ),
  bad('[B25] line feeds alone end all lines', 'GET /v1/models HTTP/1.1\nHost: localhost\n\n'),
  bad('[B25] a line feed alone ends one field', withLength('X: a\nY: b')),
  bad(
    '[B25] a line feed alone ends the head',
    `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n${LENGTH}\r\n\n${BODY}`,
  ),
  bad('[B25] a line feed alone ends the request line', get('/v1/models').replace('\r\n', '\n')),
  bad('[B26] a bare carriage return in a value', withLength('X: a\rTransfer-Encoding: chunked')),
  bad('[B26] a bare carriage return before the line end', withLength('X: a\r')),
  bad(
    '[B27] a head that ends with a carriage return and garbage',
    'GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\rZGET /evil: x\r\n\r\n',
  ),
  bad('[B28] a NUL in a value', withLength('X: a\u0000b')),
  bad('[B28] a control character in a value', withLength('X: a\u0001b')),
  bad('[B28] a DEL in a value', withLength('X: a\u007fb')),
  bad('[B29] an empty name', withLength(': x')),
  bad('[B30] a byte above ASCII in a name', latin1(withLength('X\u0085: y'))),
  bad('[B30] a parenthesis in a name', withLength('X(y): z')),
  bad('[B30] a space in a name', withLength('X y: z')),
  bad('[B30] a NUL in a name', withLength('Content\u0000-Length: 5')),
  bad('[B30] a line without a colon', withLength('nonsense')),
];

const CHUNKS: readonly Case[] = [
  badSize('[B32] a chunk size in C notation', '0x10'),
  badSize('[B32] a chunk size with a plus', '+10'),
  badSize('[B32] a chunk size below zero', '-10'),
  badSize('[B32] a space before a chunk size', ' 10'),
  badSize('[B32] a space behind a chunk size', '10 '),
  badSize('[B32] a tab behind a chunk size', '10\t'),
  badSize('[B32] an empty chunk size', ''),
  badSize('[B32] a chunk size with an underscore', '0_10'),
  badSize('[B32] a chunk size that is no number', 'zz'),
  badSize('[B33] a chunk size of 17 digits', 'FFFFFFFFFFFFFFFFF'),
  badSize('[B33] a chunk size that wraps around to the right one', '10000000000000010'),
  refuses(
    '[B35] chunk extensions of 20 KB',
    chunked(`10;${'a'.repeat(20_000)}\r\n${BODY}\r\n0\r\n\r\n`),
    413,
    'request_too_large',
  ),
  bad('[B36] a line feed in a chunk extension', chunked(`10;a\nb\r\n${BODY}\r\n0\r\n\r\n`)),
  bad('[B36] a carriage return in a chunk extension', chunked(`10;a\rb\r\n${BODY}\r\n0\r\n\r\n`)),
  bad('[B37] a chunk size that ends with a line feed', chunked(`10\n${BODY}\r\n0\r\n\r\n`)),
  bad('[B37] a chunk that ends with a line feed', chunked(`10\r\n${BODY}\n0\r\n\r\n`)),
  bad('[B37] chunk sizes that end with line feeds', chunked(`10\n${BODY}\n0\n\n`)),
  bad('[B38] a chunk without its line end', chunked(`10\r\n${BODY}0\r\n\r\n`)),
  bad('[B38] two letters instead of a chunk’s line end', chunked(`10\r\n${BODY}XX0\r\n\r\n`)),
  bad('[B38] a chunk longer than it says', chunked(`f\r\n${BODY}\r\n0\r\n\r\n`)),
  bad('[B40] a length in the trailer', chunked(`${ONE_CHUNK}0\r\nContent-Length: 5\r\n\r\n`)),
  bad('[B40] a coding in the trailer', chunked(`${ONE_CHUNK}0\r\nTransfer-Encoding: chunked\r\n\r\n`)),
  refuses(
    '[B41] a trailer of 20 KB',
    chunked(`${ONE_CHUNK}0\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`),
    431,
    'header_too_large',
  ),
];

const SOUND: readonly Case[] = [
  accepts('[B8] a length with a leading zero', post(['Content-Length: 016'])),
  accepts('[B8] a length with many leading zeros', post([`Content-Length: ${'0'.repeat(40)}16`])),
  accepts('[B8] a length between spaces', post(['Content-Length:    16   '])),
  accepts('[B19] CHUNKED', chunked(`${ONE_CHUNK}0\r\n\r\n`, 'Transfer-Encoding: CHUNKED')),
  accepts('[B19] chunks of one byte', (model) =>
    chunked(`${Array.from(BODY.replace('near', model), (letter) => `1\r\n${letter}\r\n`).join('')}0\r\n\r\n`),
  ),
  accepts('[B19] a chunk size with leading zeros', chunked(`0000010\r\n${BODY}\r\n000\r\n\r\n`)),
  accepts('[B31] underscores where framing has dashes', withLength('Content_Length: 5', 'Transfer_Encoding: chunked')),
  accepts('[B34] a chunk extension', chunked(`10;a=b;c="d"\r\n${BODY}\r\n0;x\r\n\r\n`)),
  accepts(
    '[B39] a trailer that looks like a request',
    chunked(`${ONE_CHUNK}0\r\nX:POST /v1/chat/completions HTTP/1.1\r\n\r\n`),
  ),
  accepts('[B40] a trailer with a credential', chunked(`${ONE_CHUNK}0\r\nAuthorization: Bearer stolen\r\n\r\n`)),
  accepts('[B42] nothing is taken behind Connection: close', withLength('Connection: close') + withLength(), {
    fate: 'closes',
  }),
  accepts('[B42] noise behind Connection: close', `${withLength('Connection: close')}noise\r\n\r\n`, {
    fate: 'closes',
  }),
  answers('[B45] the body of a GET is thrown away', `${get('/v1/models', 'Content-Length: 3')}abc`),
  answers('[B45] a GET in chunks', `${get('/v1/models', CHUNKED)}3\r\nabc\r\n0\r\n\r\n`, 200, 'closes'),
  answers(
    '[B45] a request inside the body of a GET',
    `${get('/v1/models', `Content-Length: ${withLength().length}`)}${withLength()}`,
  ),
  accepts('[B48] empty lines before a request', `\r\n\r\n${withLength()}`),
];

const NO_HTTP: readonly Case[] = [
  bad('[B46] the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  bad('[B47] the hello of TLS', Buffer.from('16030100c8010000c40303', 'hex')),
  bad('[B48] noise', Buffer.from(Array.from({ length: 100 }, (_, index) => 1 + ((index * 7919) % 251)))),
  bad('[B48] a NUL', Buffer.from([0])),
  bad('[B48] another protocol', 'SSH-2.0-OpenSSH_9.6\r\n'),
];

describe('a request whose end could be read in two ways is refused, and the connection with it', () => {
  it.each([...LENGTHS, ...CODINGS, ...HEADS, ...CHUNKS, ...NO_HTTP])('$title', (row) => replay(bench, row, 'every'));
});

describe('a request whose end is clear goes on, framed anew', () => {
  it.each(SOUND)('$title', (row) => replay(bench, row, 'every'));
});

othersAgree(() => bench, 4);
