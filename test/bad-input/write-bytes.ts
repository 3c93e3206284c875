/** Writes requests of the corpus, byte for byte. */

export const BODY = '{"model":"near"}';

const PATH = '/v1/chat/completions';

export const crlf = (...lines: readonly string[]): string => lines.join('\r\n');

/** A POST with these lines behind `Host`, and what comes after the empty line. */
export const post = (lines: readonly string[], after: string = BODY): string =>
  crlf(`POST ${PATH} HTTP/1.1`, 'Host: localhost', ...lines, '', after);

/** A sound POST of BODY with further lines. */
export const withLength = (...lines: readonly string[]): string => post([`Content-Length: ${BODY.length}`, ...lines]);

/** A POST whose body is chunked as written. */
export const chunked = (chunks: string, ...lines: readonly string[]): string =>
  post(lines.length === 0 ? ['Transfer-Encoding: chunked'] : lines, chunks);

/** BODY in one chunk. */
export const ONE_CHUNK = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;

export const get = (target: string, ...lines: readonly string[]): string =>
  crlf(`GET ${target} HTTP/1.1`, 'Host: localhost', ...lines, '', '');

/** A sound POST of these bytes. */
export function sized(body: string | Buffer, path: string = PATH, ...lines: readonly string[]): Buffer {
  const bytes = Buffer.from(body);
  const head = [`POST ${path} HTTP/1.1`, 'Host: localhost', ...lines, `Content-Length: ${bytes.length}`, '', ''];
  return Buffer.concat([Buffer.from(head.join('\r\n'), 'latin1'), bytes]);
}

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
