import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Upstream } from '../controller/gate.ts';
import { patienceOf } from './patience.ts';
import { forwardedQuery, requestHeaders } from './request-headers.ts';
import { readHead } from './response-headers.ts';

const UPSTREAM: Upstream = {
  id: 'r',
  origin: 'http://127.0.0.1:1',
  pathPrefix: '',
  headers: { authorization: 'Bearer engine', 'x-team': 'ours' },
  servedName: 'tiny',
  connections: 1,
  idleLimit: 1,
  external: false,
};

function forwarded(
  raw: readonly string[],
  connection?: string,
  trace: readonly string[] | null = null,
): Map<string, string[]> {
  const pairs = requestHeaders({
    rawHeaders: raw,
    connection,
    contentType: 'application/json',
    requestId: 'id-1',
    upstream: UPSTREAM,
    trace,
  });
  const map = new Map<string, string[]>();
  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index] as string;
    map.set(name, [...(map.get(name) ?? []), pairs[index + 1] as string]);
  }
  return map;
}

describe('the headers of a request', () => {
  it('reach the engine without anything of the hop, the front or the client credentials [items 41, 55]', () => {
    const dropped = [
      ...['Connection', 'Keep-Alive', 'Proxy-Connection', 'Proxy-Authorization', 'TE', 'Trailer', 'Transfer-Encoding'],
      ...['Upgrade', 'HTTP2-Settings', 'Expect', 'Host', 'Content-Length', 'Content-Type', 'Accept-Encoding'],
      ...['Authorization', 'X-Api-Key', 'api-key', 'Cookie', 'X-Vllm-Priority', 'X-data-parallel-rank', 'Range'],
      ...[
        'If-None-Match',
        'Cache-Control',
        'Via',
        'Forwarded',
        'X-Forwarded-For',
        'X-Real-IP',
        'Origin',
        'Sec-Fetch-Site',
      ],
      ...[
        'X-Vgw-Model',
        'X-Queue-Depth',
        'Content_Length',
        'Transfer_Encoding',
        'X_Vllm_Priority',
        'X-Request-Id',
        'Last-Event-ID',
      ],
    ];
    const names = fc
      .constantFrom(...dropped)
      .chain((name) => fc.constantFrom(name, name.toLowerCase(), name.toUpperCase()));
    fc.assert(
      fc.property(fc.array(names), (list) => {
        const out = forwarded(list.flatMap((name) => [name, 'client']));
        for (const values of out.values()) expect(values).not.toContain('client');
      }),
    );
    expect([...forwarded(dropped.flatMap((name) => [name, 'client'])).keys()].sort()).toEqual(
      ['authorization', 'content-type', 'via', 'x-request-id', 'x-team'].sort(),
    );
  });

  it('pass when they are nobody else’s business, in order', () => {
    const out = forwarded([
      'anthropic-version',
      '2023-06-01',
      'X-Note',
      'a',
      'x-note',
      'b',
      'traceparent',
      '00-1',
      'X-Team',
      'theirs',
    ]);
    expect(out.get('anthropic-version')).toEqual(['2023-06-01']);
    expect(out.get('x-note')).toEqual(['a', 'b']);
    expect(out.get('traceparent')).toEqual(['00-1']);
    expect(out.get('x-team')).toEqual(['ours']);
  });

  it('have the trace context of the attempt in place of the client’s where there are traces', () => {
    const sent = ['TraceParent', 'theirs', 'tracestate', 'a=1', 'TRACESTATE', 'b=2', 'baggage', 'k=v'];
    const out = forwarded(sent, undefined, ['traceparent', 'ours']);
    expect(out.get('traceparent')).toEqual(['ours']);
    expect(out.has('tracestate')).toBe(false);
    expect(out.get('baggage')).toEqual(['k=v']);
    expect(forwarded(sent).get('tracestate')).toEqual(['a=1', 'b=2']);
  });

  it('lose the fields that Connection names, but never ours', () => {
    const out = forwarded(['X-Secret', '1', 'X-Kept', '2'], 'x-secret, authorization, content-type, close');
    expect(out.has('x-secret')).toBe(false);
    expect(out.get('x-kept')).toEqual(['2']);
    expect(out.get('authorization')).toEqual(['Bearer engine']);
    expect(out.get('content-type')).toEqual(['application/json']);
  });

  it('say who forwards them', () => {
    expect(forwarded([]).get('via')).toEqual(['1.1 vllm-gateway']);
    expect(forwarded([]).get('x-request-id')).toEqual(['id-1']);
  });

  it('keep the query, without what looks like a key [item 41]', () => {
    expect(forwardedQuery('?beta=true&n=%2F')).toBe('?beta=true&n=%2F');
    expect(forwardedQuery('?api_key=s3cret&beta=true&KEY=x&token')).toBe('?beta=true');
    expect(forwardedQuery('?api-key=s3cret')).toBe('');
    expect(forwardedQuery('?')).toBe('');
  });
});

describe('the headers of an answer', () => {
  const head = (...pairs: string[]) => readHead(200, pairs);

  it('are a safe subset [item 43]', () => {
    const read = head(
      ...[
        'Content-Type',
        'application/json',
        'Server',
        'uvicorn',
        'Set-Cookie',
        'a=b',
        'Connection',
        'x-ratelimit-secret',
      ],
      ...[
        'X-RateLimit-Secret',
        'v',
        'x-ratelimit-remaining',
        '5',
        'Access-Control-Allow-Origin',
        '*',
        'X-Internal-Host',
        '10.0.0.1',
      ],
      ...[
        'Keep-Alive',
        'timeout=5',
        'Via',
        'x',
        'X-Vgw-Model',
        'fake',
        'X-Request-Id',
        'theirs',
        'Location',
        'http://10.0.0.1/',
      ],
    );
    expect(read.headers).toEqual(['content-type', 'application/json', 'x-ratelimit-remaining', '5']);
  });

  it('with characters that must not be in a value are dropped', () => {
    expect(head('content-type', 'a\u0001b', 'etag', 'x\u007f', 'cache-control', 'é').headers).toEqual([
      'cache-control',
      'é',
    ]);
  });

  it('say how the body ends', () => {
    expect(head('Content-Length', '5')).toMatchObject({ delimited: true, contentLength: 5 });
    expect(head('Transfer-Encoding', 'chunked').delimited).toBe(true);
    expect(head().delimited).toBe(false);
    expect(head('Content-Encoding', 'gzip').encoded).toBe(true);
  });
});

describe('patience', () => {
  it('is a client’s own limit less a margin, at least half of it', () => {
    expect(patienceOf({ 'x-stainless-read-timeout': '600' })).toBe(595_000);
    expect(patienceOf({ 'x-stainless-timeout': '60' })).toBe(55_000);
    expect(patienceOf({ 'x-stainless-timeout': '60', 'x-stainless-read-timeout': '8' })).toBe(4_000);
    expect(patienceOf({ 'x-stainless-timeout': '1.5' })).toBe(750);
  });

  it.each(['0', '-1', 'NaN', '1e99', '', 'not given', '9'.repeat(30)])('is unknown when %j is said', (value) => {
    expect(patienceOf({ 'x-stainless-timeout': value })).toBe(null);
    expect(patienceOf({})).toBe(null);
  });
});
