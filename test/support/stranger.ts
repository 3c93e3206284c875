/** What a stranger writes to a socket, byte for byte, and what it must get back. */
import { connect } from 'node:net';
import { expect } from 'vitest';
import type { ProxyBench } from './proxy-bench.ts';
import { rawRequest, type RawAnswer } from './raw-http.ts';

export const BODY = '{"model":"tiny"}';

export const crlf = (...lines: readonly string[]): string => lines.join('\r\n');
/** A POST of BODY with these further header lines. */
export const post = (...lines: readonly string[]): string =>
  crlf('POST /v1/chat/completions HTTP/1.1', 'Host: x', ...lines, '', BODY);
export const withLength = (...lines: readonly string[]): string => post(`Content-Length: ${BODY.length}`, ...lines);
export const chunked = (body: string, ...lines: readonly string[]): string =>
  crlf('POST /v1/chat/completions HTTP/1.1', 'Host: x', ...lines, '', body);
export const get = (target: string, ...lines: readonly string[]): string =>
  crlf(`GET ${target} HTTP/1.1`, 'Host: x', ...lines, '', '');
export const sized = (body: string): string =>
  crlf('POST /v1/chat/completions HTTP/1.1', 'Host: x', `Content-Length: ${Buffer.byteLength(body)}`, '', body);

export function field(answer: RawAnswer, name: string): string | undefined {
  return answer.headers.find(([key]) => key === name)?.[1];
}

/** Refused: an OpenAI error, nothing at the engine, one access line. */
export async function refused(
  bench: ProxyBench,
  bytes: string | Buffer,
  status: number,
  code?: string,
): Promise<RawAnswer> {
  const answer = await rawRequest(bench.port, bytes);
  expect([answer.status, answer.body.toString()]).toEqual([status, expect.stringContaining('"error"')]);
  const { error } = JSON.parse(answer.body.toString()) as { error: { code: string; type: string } };
  if (code !== undefined) expect(error.code).toBe(code);
  expect(error.type).toMatch(/_error$/);
  expect(bench.engine.requests.length).toBe(0);
  await bench.telemetry.ended(1);
  expect(bench.telemetry.records.length).toBe(1);
  expect(bench.telemetry.last).toMatchObject({ status, outcome: 'rejected', code: error.code });
  return answer;
}

/** Sends the bytes and collects what comes until there is enough of it, or the connection ends. */
export function converse(
  port: number,
  bytes: string | Buffer,
  enough: (text: string) => boolean = () => false,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let text = '';
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      text += data.toString();
      if (enough(text)) socket.destroy();
    });
    socket.on('close', () => resolve(text));
    socket.write(bytes);
  });
}
