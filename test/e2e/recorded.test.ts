/** Every answer recorded from a real engine, relayed by a whole gateway: status, safe headers and bytes stay as they are. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRoute, type Endpoint } from '../../src/proxy/endpoints.ts';
import { bodyOf } from '../contract/recorded-requests.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { rawRequest, type RawAnswer } from '../support/raw-http.ts';
import { recordedAnswer, recordedRows, type RecordedAnswer, type RecordedRow } from '../support/recorded.ts';
import { REPLAY_HEADER, startReplayServer, type ReplayServer } from '../support/replay-server.ts';

/** For answers of routes that are none of ours: what an engine sends there could come on any route. */
const OWN_ROUTE = '/replay';
const MODEL = 'tiny';
const ALIAS = 'tiny-by-another-name';

/** The answer to a HEAD request announces a body that does not come: on a POST it would be another answer. */
const rows = recordedRows().filter((row) => row.method !== 'HEAD');
let engine: ReplayServer;
let gateway: TestGateway;

beforeAll(async () => {
  engine = await startReplayServer(recordedAnswer);
  const model = { repo: MODEL, url: engine.url, api_key: 'sk-engine', aliases: [ALIAS], routes: [OWN_ROUTE] };
  gateway = await startTestGateway({ yaml: `models: ${JSON.stringify({ [MODEL]: model })}` });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

function endpointOf(row: RecordedRow): Endpoint | undefined {
  const route = row.method === 'POST' ? findRoute(row.path, { models: new Map() } as never) : undefined;
  return route?.kind === 'inference' ? route.endpoint : undefined;
}

/** The recorded request where the gateway would pass it on, else a plain one of the kind. */
function requestBody(row: RecordedRow, asked: string, stream: boolean): Buffer {
  if (asked === MODEL && endpointOf(row)?.body === 'json') {
    const recorded = bodyOf(row);
    if (recorded !== undefined && modelIn(recorded) === MODEL) return recorded;
  }
  return Buffer.from(JSON.stringify({ model: asked, stream }));
}

function modelIn(body: Buffer): unknown {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    return (JSON.parse(text) as Record<string, unknown> | null)?.['model'];
  } catch {
    return undefined;
  }
}

function multipartBody(asked: string): { readonly type: string; readonly bytes: Buffer } {
  const part = (name: string, value: string): string =>
    `--edge\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  return { type: 'multipart/form-data; boundary=edge', bytes: Buffer.from(`${part('model', asked)}--edge--\r\n`) };
}

async function relay(row: RecordedRow, asked: string): Promise<{ answer: RawAnswer; sent: Buffer; type: string }> {
  const endpoint = endpointOf(row);
  const stream = isStream(recordedAnswer(row.name));
  const { type, bytes } =
    endpoint?.body === 'multipart'
      ? multipartBody(asked)
      : { type: 'application/json', bytes: requestBody(row, asked, stream) };
  const head = [
    `POST ${endpoint === undefined ? OWN_ROUTE : row.path} HTTP/1.1`,
    `host: 127.0.0.1:${gateway.port}`,
    `${REPLAY_HEADER}: ${row.name}`,
    `content-type: ${type}`,
    `content-length: ${bytes.length}`,
  ];
  const request = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), bytes]);
  return { answer: await rawRequest(gateway.port, request), sent: bytes, type };
}

function header(answer: { readonly headers: RecordedAnswer['headers'] }, name: string): string | undefined {
  return answer.headers.find(([key]) => key === name)?.[1];
}

function isStream(answer: RecordedAnswer): boolean {
  return header(answer, 'content-type')?.startsWith('text/event-stream') === true;
}

type Json = Readonly<Record<string, unknown>>;

function parsed(body: Buffer): Json {
  try {
    return JSON.parse(body.toString()) as Json;
  } catch {
    return {};
  }
}

/** What the gateway makes of what it may not pass on as it is. */
type Expectation = 'same' | 'refused' | 'wrapped' | 'broken' | 'error';

function expectation(row: RecordedRow, recorded: RecordedAnswer): Expectation {
  if (recorded.status === 401 || recorded.status === 307) return 'refused';
  if (recorded.status >= 400) {
    const { error, type } = parsed(recorded.body);
    const anthropic = endpointOf(row)?.errors === 'anthropic';
    const typed = typeof (error as Json | undefined)?.['message'] === 'string';
    return typed && type === (anthropic ? 'error' : undefined) ? 'same' : 'wrapped';
  }
  if (!isStream(recorded)) return 'same';
  const text = recorded.body.toString();
  if (text.startsWith('data: {"error"')) return 'error';
  return /^data: \[DONE\]$|^event: (?:message_stop|response\.completed)$/m.test(text) ? 'same' : 'broken';
}

describe('a recorded answer is relayed unharmed [item 43]', () => {
  it.each(rows.map((row) => [row.name, row] as const))('%s', async (_name, row) => {
    const recorded = recordedAnswer(row.name);
    const before = engine.requests.length;
    const { answer, sent, type } = await relay(row, MODEL);
    const seen = engine.requests.slice(before);
    expect(new Set(seen.map(({ body }) => body.toString('latin1')))).toEqual(new Set([sent.toString('latin1')]));
    expect(seen[0]?.headers).toMatchObject({ authorization: 'Bearer sk-engine', 'content-type': type });
    const expected = expectation(row, recorded);
    expect(answer.end).toBe(expected === 'broken' ? 'closed' : 'whole');
    switch (expected) {
      case 'refused':
        expect(answer.status).toBe(502);
        expect(parsed(answer.body)).toMatchObject({ error: { code: 'upstream_protocol_error' } });
        return;
      case 'wrapped':
        expect(answer.status).toBe(recorded.status);
        expect(header(answer, 'content-type')).toBe('application/json');
        expectWrapped(row, answer, recorded);
        return;
      case 'broken':
        expect(answer.status).toBe(200);
        expect(answer.body.subarray(0, recorded.body.length).equals(recorded.body)).toBe(true);
        expect(answer.body.subarray(recorded.body.length).toString()).toMatch(/^(?:\n\n)?data: \{"error":.*\n\n$/);
        return;
      case 'error':
        expect(answer.status).toBe(503);
        expect(answer.body.toString()).toBe(/^data: (.*)$/m.exec(recorded.body.toString())?.[1]);
        return;
      case 'same':
        expect(answer.status).toBe(recorded.status);
        expect(answer.body.toString('latin1')).toBe(recorded.body.toString('latin1'));
        expect(header(answer, 'content-type')).toBe(header(recorded, 'content-type'));
        expect(header(answer, 'server')).toBeUndefined();
    }
  });
});

function expectWrapped(row: RecordedRow, answer: RawAnswer, recorded: RecordedAnswer): void {
  const body = parsed(answer.body);
  const original = parsed(recorded.body);
  const { message } = body['error'] as { message: string };
  const inner = original['error'];
  const texts = [typeof inner === 'object' ? (inner as Json | null)?.['message'] : inner, original['detail']];
  const text = texts.find((value) => typeof value === 'string') ?? recorded.body.toString();
  expect(message).toBe(
    text === '' ? `The engine answered with status ${recorded.status} and no text.` : String(text).trim(),
  );
  if (endpointOf(row)?.errors === 'anthropic') expect(body['type']).toBe('error');
}

describe('asked by another name, an answer differs in that name alone [item 42]', () => {
  const renamed = rows.filter((row) => expectation(row, recordedAnswer(row.name)) === 'same');

  it.each(renamed.map((row) => [row.name, row] as const))('%s', async (_name, row) => {
    const recorded = recordedAnswer(row.name);
    const { answer } = await relay(row, ALIAS);
    expect(answer.status).toBe(recorded.status);
    if (recorded.status >= 400) {
      expect(answer.body.toString()).toBe(recorded.body.toString().replaceAll(/\btiny\b/g, ALIAS));
      return;
    }
    const text = answer.body.toString();
    const back = text.replaceAll(`"model":"${ALIAS}"`, `"model":"${MODEL}"`);
    expect(back).toBe(recorded.body.toString());
    const named = /^(?:data: )?\{(?:[^{}]*,)?"model":"tiny"/m.test(recorded.body.toString());
    if (named) expect(text).toContain(`"model":"${ALIAS}"`);
  });
});
