/** W3C Trace Context: what a client sends is checked strictly, and what is not exactly right counts as not sent. */

export interface TraceContext {
  /** 32 lower-case hex digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all zero. */
  readonly spanId: string;
  readonly sampled: boolean;
  /** As it came, every field of it joined; '' when there was none, or when it was not valid. */
  readonly traceState: string;
}

/** https://www.w3.org/TR/trace-context/#traceparent-header-field-values */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\s\S]*)?$/;
const MAX_TRACEPARENT = 256;
const SAMPLED = 1;

/** https://www.w3.org/TR/trace-context/#list-members */
const KEY = /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})$/;
const VALUE = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
const MAX_MEMBERS = 32;
/** What the standard asks everybody to hand on; longer ones are dropped whole. */
const MAX_TRACESTATE = 512;

/** `rawHeaders`: name, value, name, value … Null: the trace begins here. */
export function readTraceContext(rawHeaders: readonly string[]): TraceContext | null {
  const parents: string[] = [];
  const states: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] as string).toLowerCase();
    if (name === 'traceparent') parents.push(rawHeaders[index + 1] as string);
    else if (name === 'tracestate') states.push(rawHeaders[index + 1] as string);
  }
  const [parent] = parents;
  if (parent === undefined || parents.length > 1) return null;
  const read = readTraceparent(withoutBlanks(parent));
  return read && { ...read, traceState: readTraceState(states) };
}

function readTraceparent(text: string): Omit<TraceContext, 'traceState'> | null {
  if (text.length > MAX_TRACEPARENT) return null;
  const match = TRACEPARENT.exec(text);
  if (match === null) return null;
  const [, version = '', traceId = '', spanId = '', flags = '', more] = match;
  // Version 00 ends here; later ones may add fields, and `ff` is none.
  if (version === 'ff' || (version === '00' && more !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED };
}

function readTraceState(fields: readonly string[]): string {
  const members = fields
    .join(',')
    .split(',')
    .map(withoutBlanks)
    .filter((member) => member !== '');
  const keys = new Set<string>();
  for (const member of members) {
    const equals = member.indexOf('=');
    const key = member.slice(0, Math.max(0, equals));
    if (!KEY.test(key) || !VALUE.test(member.slice(equals + 1)) || keys.has(key)) return '';
    keys.add(key);
  }
  const text = members.join(',');
  return members.length > MAX_MEMBERS || text.length > MAX_TRACESTATE ? '' : text;
}

/** At both ends. Not by a pattern: blanks in the middle of a long value would cost the square of its length. */
function withoutBlanks(text: string): string {
  let [from, to] = [0, text.length];
  while (from < to && isBlank(text, from)) from += 1;
  while (to > from && isBlank(text, to - 1)) to -= 1;
  return text.slice(from, to);
}

const isBlank = (text: string, at: number): boolean => text[at] === ' ' || text[at] === '\t';

/** As version 00 writes it. */
export function traceparent(traceId: string, spanId: string, sampled: boolean): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}
