import { afterEach, describe, expect, it, vi } from 'vitest';
import { createProxyBench, proxyModel, proxySettings, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { KIB, MIB } from '../units.ts';
import { JsonBody } from './json-body.ts';
import { BODY_TURN } from './limits.ts';
import { MultipartBody } from './multipart.ts';

const SIZE = 32 * MIB;
/** Most that one reading brings. */
const ONE_READ = 64 * KIB;

const ROOMY = proxySettings([proxyModel('tiny')], { maxBodySize: 2 * SIZE, maxBufferedBytes: 4 * SIZE });

afterEach(() => {
  vi.restoreAllMocks();
});

interface Seen {
  bytes: number;
  /** Most bytes that were looked at between two turns of the loop. */
  mostInATurn: number;
  turns: number;
  /** Largest text that was made of bytes, and largest buffer that was put together. */
  largestText: number;
  largestJoin: number;
}

/** Watches how bodies are looked at, whoever sends them. */
function watch(): Seen {
  const seen: Seen = { bytes: 0, mostInATurn: 0, turns: 0, largestText: 0, largestJoin: 0 };
  let inTurn = 0;
  const count = (chunk: Buffer): void => {
    seen.bytes += chunk.length;
    if (inTurn === 0) {
      setImmediate(() => {
        inTurn = 0;
        seen.turns += 1;
      });
    }
    inTurn += chunk.length;
    seen.mostInATurn = Math.max(seen.mostInATurn, inTurn);
  };
  for (const { prototype } of [JsonBody, MultipartBody]) {
    const add = prototype.add;
    vi.spyOn(prototype, 'add').mockImplementation(function (this: JsonBody & MultipartBody, chunk) {
      count(chunk);
      return add.call(this, chunk);
    });
  }
  const { toString } = Buffer.prototype;
  vi.spyOn(Buffer.prototype, 'toString').mockImplementation(function (this: Buffer, ...args) {
    const text = toString.apply(this, args);
    seen.largestText = Math.max(seen.largestText, text.length);
    return text;
  });
  const { concat } = Buffer;
  vi.spyOn(Buffer, 'concat').mockImplementation((list, length) => {
    const whole = concat(list, length);
    seen.largestJoin = Math.max(seen.largestJoin, whole.length);
    return whole;
  });
  return seen;
}

/** Sends it as fast as the machine lets it, until the gateway asks for a lease. */
async function ask(bench: ProxyBench, path: string, type: string, body: Buffer): Promise<void> {
  bench.gate.decide = () => 'wait';
  const socket = bench.connect();
  socket.on('error', () => undefined);
  socket.write(
    `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`,
  );
  socket.write(body);
  await bench.gate.until(() => bench.gate.waiting.length > 0);
  socket.destroy();
  await bench.telemetry.ended(1);
}

const prompt = Buffer.from('漢字かな交じり文'.repeat(Math.ceil(SIZE / 24))).subarray(0, SIZE - (SIZE % 24));
const json = Buffer.concat([
  Buffer.from('{"messages":[{"role":"user","content":"'),
  prompt,
  Buffer.from('"}],"model":"tiny"}'),
]);
const form = Buffer.concat([
  Buffer.from('--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'),
  Buffer.alloc(SIZE, '\r\n--almost'),
  Buffer.from('\r\n--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ntiny\r\n--b--\r\n'),
]);

describe('a body of 32 MB', () => {
  it.each([
    ['JSON', '/v1/chat/completions', 'application/json', json],
    ['form', '/v1/audio/transcriptions', 'multipart/form-data; boundary=b', form],
  ])('is looked at in slices, a bounded one in each turn of the loop, and never copied: %s', async (...all) => {
    const [, path, type, body] = all;
    await using bench = await createProxyBench({ settings: ROOMY });
    const seen = watch();
    await ask(bench, path, type, body);
    expect(seen.bytes).toBe(body.length);
    // One turn may end with those that waited for it, and the next begin with what is read then.
    expect(seen.mostInATurn).toBeLessThanOrEqual(2 * (BODY_TURN + ONE_READ));
    expect(seen.turns).toBeGreaterThanOrEqual(body.length / (2 * (BODY_TURN + ONE_READ)));
    expect(seen.largestText).toBeLessThan(64 * KIB);
    expect(seen.largestJoin).toBeLessThanOrEqual(64 * KIB);
    expect(bench.proxy.stats().bufferedBytes).toBe(0);
  });

  it('goes to the engine as the very bytes that came, but for the name of the model', () => {
    const body = new JsonBody();
    const chunks: Buffer[] = [];
    // A small rest would be put together with what follows it.
    for (let at = 0; at < json.length; at += ONE_READ) {
      const isLast = json.length - at < 2 * ONE_READ;
      const read = json.subarray(at, isLast ? json.length : at + ONE_READ);
      const chunk = Buffer.allocUnsafeSlow(read.length);
      read.copy(chunk);
      chunks.push(chunk);
      if (isLast) break;
    }
    for (const chunk of chunks) expect(body.add(chunk)).toBeNull();
    expect(body.finish()).toBeNull();
    const seen = watch();
    const pieces = body.render('org/tiny', new Map([['temperature', '0.5']])) as readonly Buffer[];
    const came = new Set(chunks.map(({ buffer }) => buffer));
    const added = pieces.filter(({ buffer }) => !came.has(buffer)).map((piece) => piece.toString());
    expect(added).toEqual(['"temperature":0.5,', '"org/tiny"']);
    expect(pieces.reduce((sum, { length }) => sum + length, 0)).toBe(json.length + 18 + '"org/tiny"'.length - 6);
    expect(seen.largestJoin).toBe(0);
  });

  it('that is waited for in the middle of a turn is thrown away like any other when it is refused', async () => {
    await using bench = await createProxyBench({ settings: ROOMY });
    const seen = watch();
    const socket = bench.connect();
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => socket.on('close', resolve));
    const bad = Buffer.from(json);
    bad[2 * MIB] = 0x01;
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${bad.length}\r\n\r\n`);
    socket.write(bad);
    await closed;
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*invalid_json/);
    expect(seen.bytes).toBeLessThanOrEqual(2 * MIB + 2 * ONE_READ);
    expect(bench.proxy.stats().bufferedBytes).toBe(0);
  });
});
