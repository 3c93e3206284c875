/** The head of an engine's answer (RFC 9112 §4 to §6), read strictly. */

export interface AnswerHead {
  readonly status: number;
  /** Name, value, name, value … as written, without the white space around values. */
  readonly fields: readonly string[];
  readonly chunked: boolean;
  /** Bytes of the body; null = not told: chunked, or until the connection ends. */
  readonly length: number | null;
  readonly keepAlive: boolean;
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
/** RFC 9110 §5.6.2 */
const TOKEN = /^[\w!#$%&'*+\-.^`|~]+$/;
const NOT_IN_A_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const LENGTH = /^\d{1,15}$/;

const NO_CONTENT = 204;
const NOT_MODIFIED = 304;
const OK = 200;

/** From the status line to before the empty line, as latin1; or, in words, what is wrong with it. */
export function readAnswerHead(text: string): AnswerHead | string {
  const lines = text.split('\r\n');
  const status = STATUS_LINE.exec(lines[0] as string);
  if (status === null) return 'its first line is not a status line';
  const code = Number(status[2]);
  const fields: string[] = [];
  let length: number | null = null;
  let chunked = false;
  let keepAlive = status[1] === '1';
  for (let index = 1; index < lines.length; index++) {
    const line = lines[index] as string;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon));
    // A line that begins with white space (obs-fold) has no token before its colon either.
    if (!TOKEN.test(name)) return 'a line of its head is not a field';
    const value = trimmed(line, colon + 1);
    if (NOT_IN_A_VALUE.test(value)) return `the value of ${name} holds control characters`;
    fields.push(name, value);
    switch (name.length) {
      case 14:
        if (name.toLowerCase() !== 'content-length') break;
        if (length !== null || !LENGTH.test(value) || line.includes('\t'))
          return 'its content-length is not one number';
        length = Number(value);
        break;
      case 17:
        if (name.toLowerCase() !== 'transfer-encoding') break;
        // A tab is white space as good as a blank; llhttp takes `chunked` before one for another coding.
        if (chunked || value.toLowerCase() !== 'chunked' || line.includes('\t'))
          return 'its transfer-encoding is not chunked';
        chunked = true;
        break;
      case 10:
        if (name.toLowerCase() !== 'connection') break;
        keepAlive = keepsAlive(value.toLowerCase(), keepAlive);
        break;
    }
  }
  if (chunked && length !== null) return 'it has both content-length and transfer-encoding';
  if (chunked && status[1] === '0') return 'HTTP/1.0 has no transfer-encoding';
  // RFC 9112 §6.3: these have no body, whatever the fields say.
  const bare = code < OK || code === NO_CONTENT || code === NOT_MODIFIED;
  if (bare) return { status: code, fields, chunked: false, length: 0, keepAlive };
  return { status: code, fields, chunked, length, keepAlive: keepAlive && (chunked || length !== null) };
}

/** Without the blanks around it; no other white space may be there, so none is taken off. */
function trimmed(line: string, from: number): string {
  let start = from;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start++;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
  return line.slice(start, end);
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09;

function keepsAlive(value: string, before: boolean): boolean {
  const options = value.split(',').map((option) => option.trim());
  if (options.includes('close')) return false;
  return before || options.includes('keep-alive');
}
