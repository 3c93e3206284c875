/** The head of an answer to a client, as text. */
import { STATUS_CODES } from 'node:http';
import { SECOND } from '../units.ts';
import { KEEP_ALIVE } from './limits.ts';

/** How the client will know where the body ends. */
export type Framing =
  /** Its length is told. */
  | 'length'
  | 'chunked'
  /** The connection ends with it: HTTP/1.0 has no chunks. */
  | 'close'
  /** There is none. */
  | 'none';

export interface HeadFacts {
  readonly status: number;
  /** Name, value, name, value … */
  readonly headers: readonly string[];
  /** The request was HTTP/1.0. */
  readonly old: boolean;
  /** The connection is to end with this answer. */
  readonly last: boolean;
  /** For the `date` field. */
  readonly date: string;
}

export interface Head {
  /** Latin1, the empty line included. */
  readonly text: string;
  readonly framing: Framing;
  readonly last: boolean;
}

const NOT_IN_A_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const KEEPS = `connection: keep-alive\r\nkeep-alive: timeout=${KEEP_ALIVE / SECOND}\r\n`;
const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/** Throws on a value that would end its field early: whoever made it is at fault. */
export function responseHead(facts: HeadFacts): Head {
  const { status, headers, old } = facts;
  let { last } = facts;
  let framing: Framing = status === NO_CONTENT || status === NOT_MODIFIED ? 'none' : 'chunked';
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] as string;
    const value = headers[index + 1] as string;
    if (NOT_IN_A_VALUE.test(value)) throw new TypeError(`the value of ${name} cannot be sent`);
    if (name === 'connection') {
      if (value === 'close') last = true;
      continue;
    }
    if (name === 'content-length' && framing !== 'none') framing = 'length';
    text += `${name}: ${value}\r\n`;
  }
  if (framing === 'chunked') {
    if (old) {
      framing = 'close';
      last = true;
    } else text += 'transfer-encoding: chunked\r\n';
  }
  return { text: `${text}date: ${facts.date}\r\n${last ? 'connection: close\r\n' : KEEPS}\r\n`, framing, last };
}
