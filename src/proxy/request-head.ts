/** The head of a request to an engine, as text. */
import type { UpstreamRequest } from './upstream-client.ts';

const BAD_TARGET = /[^\x21-\x7e\x80-\xff]/;
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Latin1; null when a part of it would not be what it is meant to be (RFC 9112 §3.2, RFC 9110 §5.5). */
export function requestHead(request: UpstreamRequest, host: string): string | null {
  if (BAD_TARGET.test(request.path)) return null;
  let head = `POST ${request.path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  const { headers } = request;
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const value = headers[index + 1] as string;
    if (BAD_VALUE.test(value)) return null;
    head += `${headers[index]}: ${value}\r\n`;
  }
  return `${head}content-length: ${request.bodyBytes}\r\n\r\n`;
}
