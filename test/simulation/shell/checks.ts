/** What must hold of every request, seen from outside: from its client, from the engines, and from the gateway's own account. */
import type { RequestRecord } from '../../../src/telemetry/telemetry.ts';
import type { Milliseconds } from '../../../src/units.ts';
import { bodyOf, DONE, eventsOf } from './answers.ts';
import type { Exchange } from './client.ts';
import type { Reception } from './engine-line.ts';

export class ShellFailure extends Error {
  readonly id: string;

  constructor(id: string, message: string) {
    super(message);
    this.name = 'ShellFailure';
    this.id = id;
  }
}

export function check(id: string, holds: boolean, message: () => string): void {
  if (!holds) throw new ShellFailure(id, message());
}

/** What is known of one nonce. */
export interface Story {
  readonly exchange: Exchange;
  readonly receptions: Reception[];
  readonly records: RequestRecord[];
  /** When its client went away. */
  leftAt: Milliseconds | null;
  /** The gateway was told to end, or did, before its client heard the end. */
  disturbed: boolean;
}

const HEARTBEATS = /^(?:: (?:waiting|starting [^\n]+)\n\n)*/;
/** One of them that is under way. */
const PART_OF_HEARTBEAT = /^:(?: [^\n]*\n?)?$/;
/** Codes of what is decided when a request arrives. */
const AT_THE_DOOR = /"code":"(?:queue_full|model_backing_off|model_not_found)"/;
const NONCES = /\bs\d+c\d+r\d+\./g;

/** An engine begins with a request. `leaving`: the gateway does not count on the engine before any more. */
export function checkReception(
  story: Story,
  now: Reception,
  maxConcurrent: number,
  leaving: (before: Reception) => boolean,
): void {
  const { nonce, engine } = now;
  check('wrong_engine', now.model === engine.served, () => `${nonce} for ${now.model} reached ${engine.served}`);
  check(
    'wrong_key',
    now.authorization === `Bearer ${engine.key}`,
    () => `${nonce} came with the key of another engine`,
  );
  const open = [...engine.lines].filter((line) => line.isWorking).length;
  check(
    'slots',
    open <= maxConcurrent,
    () => `${engine.served} works on ${open} requests, ${maxConcurrent} are allowed`,
  );
  const before = story.receptions.at(-1);
  if (before === undefined) return;
  check('two_attempts', !before.line.isWorkingOn(before), () => `${nonce} is at two engines at a time`);
  const heard = story.exchange.bytes.toString().replace(/^HTTP[^]*?\r\n\r\n/, '');
  const relayed = story.exchange.answer !== null && /data:|\{/.test(heard);
  check('retry_after_byte', !relayed, () => `${nonce} was asked again after its client had read ${heard.slice(0, 80)}`);
  check('attempts', story.receptions.length < 4, () => `${nonce} was asked ${story.receptions.length + 1} times`);
  // What came before its connection ended rightly was read before the end was.
  const begun = before.sent > 0 && before.manner.fault === 'truncated';
  const replay = before.reused && !begun;
  const allowed = before.manner.fault === 'going_down' || !before.engine.alive || replay || leaving(before);
  check('retry', allowed, () => `${nonce} was asked again though an engine that goes on had it`);
}

/** A client has its answer, or knows that none will come. */
export function checkExchange(story: Story): void {
  const { exchange } = story;
  const { answer, order } = exchange;
  const name = order.nonce;
  if (answer === null) {
    // A plain answer that breaks off is cut, and what was not sent yet goes with it.
    const cut = !order.stream && story.receptions.at(-1)?.complete === false;
    const excused = exchange.left || story.disturbed || cut || order.pauseMs > 50_000;
    check('no_answer', excused, () => `${name} was never answered`);
    check(
      'half_head',
      exchange.left || story.disturbed || exchange.bytes.length === 0,
      () => `${name} got half a head`,
    );
    return;
  }
  check('malformed', answer.malformed === null, () => `${name}: ${answer.malformed}`);
  check('after_end', answer.rest === 0, () => `${name}: ${answer.rest} bytes behind the answer`);
  const strangers = (answer.body.match(NONCES) ?? []).filter((nonce) => nonce !== name);
  check('cross_talk', strangers.length === 0, () => `${name} reads of ${strangers[0]}`);
  if (answer.status === 200) checkGood(story);
  else checkError(story);
}

function checkGood(story: Story): void {
  const { answer, order, left } = story.exchange;
  const reception = story.receptions.at(-1);
  if (answer === null) return;
  const body = order.stream ? answer.body.replace(HEARTBEATS, '') : answer.body;
  const whole = reception === undefined ? '' : expectedOf(story, reception);
  const error = order.stream ? errorEventOf(body) : '';
  const refused = reception === undefined && AT_THE_DOOR.test(error);
  check('late_refusal', !refused, () => `${order.nonce} is refused behind the head of its answer: ${error}`);
  const relayed = body.slice(0, body.length - error.length).replace(/\n\n$/, '');
  // Of an event that was cut off a part may have gone out, or a comment may be under way.
  const isPrefix = whole.startsWith(relayed) || (left && PART_OF_HEARTBEAT.test(relayed));
  check('prefix', isPrefix, () => `${order.nonce} read what its engine did not write: ${relayed.slice(-200)}`);
  if (answer.complete) {
    // Where the end of the connection is the end, the last event of the API tells that nothing of worth is missing.
    const ended = reception?.manner.framing === 'until_closed' && body.trimEnd() === whole.trimEnd();
    check('truncated_whole', body === whole || ended, () => `${order.nonce}: an answer that is not whole looks so`);
    const sound = reception?.complete === true || ended;
    check('complete_early', sound, () => `${order.nonce} ended before its engine had written all`);
  } else if (!left && !story.disturbed && order.stream) {
    check('error_event', error !== '', () => `${order.nonce} broke off without an error event`);
  }
}

function expectedOf({ exchange }: Story, { asked, manner }: Reception): string {
  const { model } = exchange.order;
  return asked.stream ? eventsOf(asked, manner, model).join('') : bodyOf(asked, manner, model);
}

/** The error event that ends a stream, with its text; '' = there is none. */
function errorEventOf(body: string): string {
  const at = body.indexOf('data: {"error":');
  return at === -1 ? '' : body.slice(at);
}

function checkError(story: Story): void {
  const { answer, order, left } = story.exchange;
  if (answer === null) return;
  const { status, fields, body, complete } = answer;
  check('status', status >= 400 && status <= 599, () => `${order.nonce} got status ${status}`);
  if (status === 429 || status === 503) {
    const after = Number(fields.get('retry-after'));
    check('retry_after', after >= 1 && after <= 60, () => `${order.nonce}: retry-after ${fields.get('retry-after')}`);
  }
  if (!complete) {
    check('error_cut', left || story.disturbed, () => `${order.nonce}: half an error answer`);
    return;
  }
  const code = codeOf(body);
  check('error_body', code !== undefined, () => `${order.nonce}: an error without its shape: ${body.slice(0, 100)}`);
  const unsound = ['upstream_lost', 'upstream_timeout', 'upstream_protocol_error', 'internal_error', 'pool_exhausted'];
  if (code === null || code === undefined || !unsound.includes(code)) return;
  // Of an engine that died what was under way was lost, and what comes after the gateway gave up is no answer any more.
  const sound = story.receptions.some(
    (reception) =>
      reception.line.hasDelivered(reception) && reception.manner.fault === 'none' && reception.engine.alive,
  );
  check('unjustified', !sound, () => `${order.nonce} was told ${code} though its engine answered well`);
}

/** Null: the engine's own error. Undefined: no error in the shape of the API. */
export function codeOf(body: string): string | null | undefined {
  try {
    const { error } = JSON.parse(body) as { error?: { message?: unknown; code?: unknown } };
    if (typeof error?.message !== 'string') return undefined;
    return typeof error.code === 'string' ? error.code : null;
  } catch {
    return undefined;
  }
}

/** When all is over: the gateway's account of a request against what its client saw. */
export function checkAccount(story: Story): void {
  const { exchange, records } = story;
  const { nonce } = exchange.order;
  check('two_lines', records.length <= 1, () => `${nonce} has ${records.length} access lines`);
  const { answer } = exchange;
  const [record] = records;
  if (story.disturbed) return;
  // Who left before the gateway had read what was asked for is nobody's line.
  const heard = answer !== null || story.receptions.length > 0;
  check('no_line', record !== undefined || !heard, () => `${nonce} has no access line`);
  if (record === undefined || answer === null) return;
  check(
    'line_status',
    record.status === answer.status,
    () => `${nonce}: ${record.status} noted, ${answer.status} sent`,
  );
  if (exchange.left) return;
  // An engine's refusal of a stream that had begun with heartbeats: told in an event, and no failure.
  if (story.receptions.at(-1)?.manner.fault === 'error') return;
  const went = answer.complete && answer.status < 400;
  check(
    'outcome',
    (record.outcome === 'completed') === went || (answer.status >= 400 && answer.status < 500),
    () => `${nonce} ended as ${record.outcome}; complete: ${answer.complete}, status ${answer.status}`,
  );
  if (went && exchange.order.stream)
    check('done', answer.body.trimEnd().endsWith(DONE.trimEnd()), () => `${nonce} has no [DONE]`);
}
