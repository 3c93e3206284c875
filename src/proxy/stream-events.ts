/** Events that we add to a stream ourselves: heartbeats and the one error, in the dialect of the route. */
import type { GatewayError } from '../errors.ts';
import { dataStart } from './answer-edit.ts';
import { parseObject } from './engine-errors.ts';
import type { StreamDialect } from './endpoints.ts';
import { anthropicError, openAiError } from './reply.ts';

const COMMENT = Buffer.from(': waiting\n\n');
const END = Buffer.from('\n\n');
const PING = Buffer.from('event: ping\ndata: {"type":"ping"}\n\n');

export function heartbeat(dialect: StreamDialect): Buffer {
  return dialect === 'messages' ? PING : COMMENT;
}

export function errorEvent(
  error: GatewayError,
  dialect: StreamDialect | null,
  requestId: string,
  sequenceNumber: number,
): Buffer {
  if (dialect === 'messages') {
    return Buffer.from(
      `event: error\ndata: ${JSON.stringify({ type: 'error', error: anthropicError(error), request_id: requestId })}\n\n`,
    );
  }
  const inner = openAiError(error);
  if (dialect === 'responses') {
    // The event's own fields, and `error` besides: clients look for either.
    const event = { ...inner, type: 'error', error: inner, sequence_number: sequenceNumber };
    return Buffer.from(`event: error\ndata: ${JSON.stringify(event)}\n\n`);
  }
  return Buffer.from(`data: ${JSON.stringify({ error: inner })}\n\n`);
}

/** An engine's error answer, already in the route's shape, on a stream whose head is out. */
export function engineErrorEvent(body: Buffer, dialect: StreamDialect | null, sequenceNumber: number): Buffer {
  if (dialect === 'messages') return Buffer.concat([Buffer.from('event: error\ndata: '), oneLine(body), END]);
  if (dialect !== 'responses') return Buffer.concat([Buffer.from('data: '), oneLine(body), END]);
  const error = parseObject(body.toString())?.['error'] ?? {};
  return Buffer.from(
    `event: error\ndata: ${JSON.stringify({ ...error, type: 'error', error, sequence_number: sequenceNumber })}\n\n`,
  );
}

/** JSON has line ends only between its tokens. */
function oneLine(body: Buffer): Buffer {
  return Buffer.from(body.toString().replace(/[\r\n]+/g, ' '));
}

/** What a stream's first event carries if it is an error: the JSON text and the status that fits it. */
export function errorInFrame(frame: Buffer): { readonly body: Buffer; readonly status: number } | null {
  if (!frame.includes('error') && !frame.includes('response.failed')) return null;
  const start = dataStart(frame);
  if (start === -1) return null;
  const text = frame.toString('utf8', start + 5).trim();
  const document = parseObject(text);
  if (document === undefined) return null;
  const failed =
    document['type'] === 'response.failed' ? parseObject(JSON.stringify(document['response'] ?? {})) : document;
  const error = failed?.['error'];
  if (typeof error === 'object' && error !== null) {
    const body = failed === document ? text : JSON.stringify({ error });
    return { body: Buffer.from(body), status: statusIn(error as Record<string, unknown>) };
  }
  if (typeof error === 'string' && error !== '') return { body: Buffer.from(text), status: 500 };
  return document['type'] === 'error' ? { body: Buffer.from(text), status: 500 } : null;
}

function statusIn(error: Readonly<Record<string, unknown>>): number {
  const code = Number(error['code']);
  if (Number.isInteger(code) && code >= 400 && code <= 599) return code;
  if (error['type'] === 'Service Unavailable' || error['type'] === 'overloaded_error') return 503;
  return 500;
}

/** No data in it: a comment or an empty line, which says nothing about how the answer goes. */
export function isSilent(events: Buffer): boolean {
  return dataStart(events) === -1;
}
