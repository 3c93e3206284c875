/** What an engine of the world answers: every answer carries the nonce of its request and a hash that runs over it. */
import { createHash } from 'node:crypto';
import type { Milliseconds } from '../../../src/units.ts';
import type { Random } from '../random.ts';

export type Fault =
  | 'none'
  /** Ends the connection rightly, without the end of the answer. */
  | 'truncated'
  | 'reset'
  | 'hang'
  /** 4xx or 5xx with a body in the shape of the API. */
  | 'error'
  /** An error as the first event of a stream. */
  | 'error_event'
  | 'going_down'
  | 'not_http'
  | 'encoded'
  | 'redirect'
  | 'interims'
  | 'extra_bytes'
  /** The whole engine dies. */
  | 'crash';

export type Framing = 'length' | 'chunked' | 'until_closed';

/** How an engine deals with one request; drawn from the seed and the nonce alone. */
export interface Manner {
  readonly fault: Fault;
  /** Where in the answer the fault strikes: 0 = before the first byte, 1 = before the last. */
  readonly faultAt: number;
  readonly framing: Framing;
  readonly thinkMs: Milliseconds;
  readonly gapMs: Milliseconds;
  readonly tokens: number;
  /** Every event carries so many characters more: what a slow reader does not take has to wait somewhere. */
  readonly bulk: number;
  /** Events of a stream are written so many at a time. */
  readonly perWrite: number;
  readonly status: number;
  /** Ends the connection after the answer, with or without saying so. */
  readonly closes: 'no' | 'announced' | 'silent';
}

const FAULTS: readonly [Fault, number][] = [
  ['truncated', 3],
  ['reset', 4],
  ['hang', 1],
  ['error', 3],
  ['error_event', 2],
  ['going_down', 1],
  ['not_http', 1],
  ['encoded', 1],
  ['redirect', 1],
  ['interims', 1],
  ['extra_bytes', 1],
  ['crash', 1],
];

function faultOf(random: Random): Fault {
  let left = random.next() * FAULTS.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [fault, weight] of FAULTS) {
    left -= weight;
    if (left < 0) return fault;
  }
  return 'none';
}

export interface Temper {
  readonly faultRate: number;
  readonly thinkMs: Milliseconds;
  readonly gapMs: Milliseconds;
  readonly tokens: number;
}

export function mannerOf(random: Random, temper: Temper): Manner {
  const fault = random.chance(temper.faultRate) ? faultOf(random) : 'none';
  return {
    fault,
    faultAt: random.pick([0, 0, random.next(), random.next(), 1]),
    framing: random.pick(['length', 'chunked', 'chunked', 'until_closed']),
    thinkMs: random.around(temper.thinkMs),
    gapMs: random.chance(0.3) ? 0 : random.around(temper.gapMs),
    tokens: random.int(1, temper.tokens),
    bulk: random.chance(0.05) ? 8_000 : 0,
    perWrite: random.pick([1, 1, 2, 5]),
    status: random.pick([400, 404, 422, 429, 500, 503]),
    closes: random.pick(['no', 'no', 'no', 'no', 'announced', 'silent']),
  };
}

export interface Asked {
  readonly nonce: string;
  readonly stream: boolean;
}

function token(nonce: string, index: number, bulk: number): string {
  const hash = createHash('sha256').update(`${nonce} ${index}`).digest('hex').slice(0, 12);
  return `${nonce}.${index}.${hash}${'-'.repeat(bulk)} `;
}

export const DONE = 'data: [DONE]\n\n';

/** The events of a whole stream; `model` as the reader is to see it. */
export function eventsOf({ nonce }: Asked, manner: Manner, model: string): readonly string[] {
  const events: string[] = [];
  for (let index = 0; index < manner.tokens; index += 1) {
    const choices = [{ index: 0, delta: { content: token(nonce, index, manner.bulk) }, finish_reason: null }];
    events.push(`data: ${JSON.stringify({ id: nonce, object: 'chat.completion.chunk', model, choices })}\n\n`);
  }
  events.push(DONE);
  return events;
}

export function bodyOf({ nonce }: Asked, manner: Manner, model: string): string {
  let content = '';
  for (let index = 0; index < manner.tokens; index += 1) content += token(nonce, index, manner.bulk);
  return JSON.stringify({ id: nonce, object: 'chat.completion', model, choices: [{ index: 0, message: { content } }] });
}

export function errorOf(nonce: string, text: string): string {
  return JSON.stringify({ error: { message: `${text} (${nonce})`, type: 'BadRequestError', param: null, code: null } });
}

export const GOING_DOWN = 'EngineCore encountered an issue';
