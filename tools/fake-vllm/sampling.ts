import { type Json, flag, isObject, optionalInt, optionalNumber } from './body.ts';
import { badRequest, RequestError, wrongType } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { Pace, Plan } from './engine.ts';
import { scaled } from './app.ts';
import type { Prompt } from './render.ts';
import { answerPieces, pieces } from './text.ts';

/** What a generate request asks for, checked. */
export interface Sampling {
  readonly maxTokens: number;
  readonly n: number;
  readonly stop: readonly string[];
  readonly ignoreEos: boolean;
  readonly minTokens: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly continuousUsage: boolean;
  readonly temperature: number;
  readonly topP: number;
  readonly fake: Fake;
}

/** The request's own script: top-level `fake` in the body, a field a real vLLM ignores. */
export interface Fake {
  readonly tokens: number | undefined;
  readonly tokenMs: number | undefined;
  readonly ttftMs: number | undefined;
}

const MAX_N = 16_384;

/** @throws RequestError exactly as vLLM words it. `names` are the body's keys for the output limit, first wins. */
export function readSampling(x: Exchange, body: Json, prompt: Prompt, names: readonly string[]): Sampling {
  const { maxModelLen } = x.app.options;
  const temperature = optionalNumber(body, 'temperature') ?? 1;
  const stream = flag(body, 'stream');
  const options = isObject(body['stream_options']) ? body['stream_options'] : undefined;
  if (options !== undefined && !stream) {
    throw badRequest(
      'Stream options can only be defined when `stream=True`. (parameter=stream_options)',
      'stream_options',
    );
  }
  const n = optionalInt(body, 'n') ?? 1;
  if (n > MAX_N) {
    throw badRequest(
      `n must be at most ${MAX_N}, got ${n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable.`,
    );
  }
  if (n < 1) throw badRequest(`n must be at least 1, got ${n}.`);
  if (temperature < 0) {
    const shown = Number.isInteger(temperature) ? `${temperature}.0` : String(temperature);
    throw badRequest(
      `temperature must be non-negative, got ${shown}. (parameter=temperature, value=${shown})`,
      'temperature',
    );
  }
  let asked: number | undefined;
  for (const name of names) asked ??= optionalInt(body, name);
  const limit = names.at(-1) ?? 'max_tokens';
  if (asked !== undefined && asked < 1) {
    throw badRequest(`${limit} must be at least 1, got ${asked}. (parameter=${limit}, value=${asked})`, limit);
  }
  if (asked !== undefined && asked > maxModelLen) {
    throw badRequest(
      `${limit}=${asked} cannot be greater than max_model_len=${maxModelLen}. Please request fewer output tokens. (parameter=${limit}, value=${asked})`,
      limit,
    );
  }
  const force = x.app.options.on('enable-force-include-usage');
  const room = maxModelLen - prompt.tokens.length;
  return {
    maxTokens: Math.max(1, Math.min(asked ?? room, room)),
    n,
    stop: readStop(body),
    ignoreEos: flag(body, 'ignore_eos'),
    minTokens: optionalInt(body, 'min_tokens') ?? 0,
    stream,
    includeUsage: force || options?.['include_usage'] === true,
    continuousUsage: force || options?.['continuous_usage_stats'] === true,
    temperature,
    topP: optionalNumber(body, 'top_p') ?? 1,
    fake: readFake(body),
  };
}

function readStop(body: Json): readonly string[] {
  const value = body['stop'];
  if (value === undefined || value === null) return [];
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) throw wrongType('list_type', 'stop', 'Input should be a valid list', value);
  if (value.length > 4) throw tooManyStops(value.length);
  return value.map(String).filter((text) => text !== '');
}

/** pydantic tries both types of the field and complains about each. */
function tooManyStops(count: number): RequestError {
  const place = `'loc': 'body.stop'`;
  const input = `'input': '<list of ${count} items>'`;
  const first = `{'type': 'string_type', ${place}, 'msg': 'Input should be a valid string', ${input}}`;
  const sizes = `{'field_type': 'List', 'max_length': 4, 'actual_length': ${count}}`;
  const message = `List should have at most 4 items after validation, not ${count}`;
  const second = `{'type': 'too_long', ${place}, 'msg': '${message}', ${input}, 'ctx': ${sizes}}`;
  return new RequestError(400, 'Bad Request', `2 validation errors:\n  ${first}\n  ${second}`, 'body.stop');
}

function readFake(body: Json): Fake {
  const fake = isObject(body['fake']) ? body['fake'] : {};
  const number = (name: string): number | undefined => (typeof fake[name] === 'number' ? fake[name] : undefined);
  return { tokens: number('tokens'), tokenMs: number('token_ms'), ttftMs: number('ttft_ms') };
}

export function paceOf(x: Exchange, sampling: Sampling): Pace {
  const { knobs } = x.app;
  const faults = x.faults;
  return {
    ttftMs: scaled(x.app, sampling.fake.ttftMs ?? knobs.ttftMs),
    tokenMs: scaled(x.app, sampling.fake.tokenMs ?? knobs.tokenMs),
    prefillMs: scaled(x.app, faults.number('slow_prefill', 5000) ?? 0),
    hang: faults.has('hang'),
    abortAfter: faults.number('abort_after', 1),
  };
}

/** An answer cut to the request's limits; `stopReason` is the stop string that ended it. */
export interface PlannedAnswer extends Plan {
  readonly stopReason: string | null;
}

/** Free text: the default length unless the request says otherwise. */
export function planText(x: Exchange, prompt: Prompt, sampling: Sampling, variant: number): PlannedAnswer {
  const natural = sampling.ignoreEos
    ? sampling.maxTokens
    : Math.max(sampling.fake.tokens ?? x.app.knobs.tokens, sampling.minTokens);
  const garbage = x.app.weightsLost ? 'weights were dropped: ' : '';
  const text = answerPieces(garbage + prompt.text, variant, Math.min(natural, sampling.maxTokens));
  return cut(text, natural > sampling.maxTokens || sampling.ignoreEos ? 'length' : 'stop', sampling.stop);
}

/** A given text, for structured output and tool calls. */
export function planFixed(text: string, sampling: Sampling): PlannedAnswer {
  const all = pieces(text);
  const kept = all.slice(0, sampling.maxTokens);
  return { pieces: kept, reason: kept.length < all.length ? 'length' : 'stop', stopReason: null };
}

function cut(all: readonly string[], reason: 'length' | 'stop', stops: readonly string[]): PlannedAnswer {
  if (stops.length === 0) return { pieces: all, reason, stopReason: null };
  let text = '';
  for (const [index, piece] of all.entries()) {
    const before = text.length;
    text += piece;
    let first: { at: number; stop: string } | undefined;
    for (const stop of stops) {
      const at = text.indexOf(stop);
      if (at !== -1 && (first === undefined || at < first.at)) first = { at, stop };
    }
    if (first === undefined) continue;
    const kept = all.slice(0, index);
    if (first.at > before) kept.push(piece.slice(0, first.at - before));
    else if (first.at < before) return { pieces: trimTo(kept, first.at), reason: 'stop', stopReason: first.stop };
    return { pieces: kept, reason: 'stop', stopReason: first.stop };
  }
  return { pieces: all, reason, stopReason: null };
}

function trimTo(all: readonly string[], length: number): string[] {
  const kept: string[] = [];
  let left = length;
  for (const piece of all) {
    if (left <= 0) break;
    kept.push(piece.slice(0, left));
    left -= piece.length;
  }
  return kept;
}
