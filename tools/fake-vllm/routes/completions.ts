import { type Answer, canonicalModel, planAnswers, planOf, textOf } from '../answer.ts';
import { flag, isObject, type Json, optionalInt, readJson } from '../body.ts';
import { fullUsage, requestMetrics, streamUsage, tokenIds, usageOf } from '../chat-parts.ts';
import { badRequest, missingField, scaleOutDisabled } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import { checkLength, type Prompt } from '../render.ts';
import { paceOf, readSampling, type Sampling } from '../sampling.ts';
import { EventStream } from '../sse.ts';
import { pieceOf, pieces, tokenId, VOCABULARY } from '../text.ts';
import { asRequestError, checkRank, orcaHeader, requestId } from './request-parts.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

const MOST_PROMPTS = 1024;
const LOGPROB = -6.238_322_734_832_764;

/** One choice to be: its prompt and its answer. */
interface Choice {
  readonly prompt: Prompt;
  readonly answer: Answer;
}

interface CompletionJob {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly sampling: Sampling;
  readonly choices: readonly Choice[];
  readonly promptTokens: number;
  readonly echo: boolean;
  readonly logprobs: number | undefined;
  readonly returnTokenIds: boolean;
}

export function completionRoutes(): Route[] {
  const refused = (): never => {
    throw scaleOutDisabled();
  };
  return [
    route('POST', '/v1/completions', completions),
    route('POST', '/v1/completions/render', refused),
    route('POST', '/v1/completions/derender', refused),
  ];
}

export async function completions(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const job = readCompletion(x, body);
  await admit(x, job.choices.length);
  if (x.faults.has('never_ending_headers')) endlessHeaders(x);
  else if (job.sampling.stream) stream(x, job);
  else plain(x, job);
}

function readCompletion(x: Exchange, body: Json): CompletionJob {
  for (const name of ['max_tokens', 'n', 'logprobs']) optionalInt(body, name);
  const model = canonicalModel(x, body);
  checkRank(x);
  if (typeof body['suffix'] === 'string' && body['suffix'] !== '') {
    throw badRequest('suffix is only supported for models with FIM completion rendering', 'suffix');
  }
  const prompts = readPrompts(body);
  const [first] = prompts;
  if (first === undefined) throw badRequest('Either prompt or prompt_embeds must be provided and non-empty.');
  const sampling = readSampling(x, { max_tokens: 16, ...body }, first, ['max_tokens']);
  for (const prompt of prompts) checkLength(prompt, x.app.options.maxModelLen);
  const choices = prompts.flatMap((prompt) =>
    planAnswers(x, body, prompt, sampling, undefined).map((answer) => ({ prompt, answer })),
  );
  return {
    id: `cmpl-${requestId(x, body)}`,
    created: Math.floor(Date.now() / 1000),
    model,
    sampling,
    choices,
    promptTokens: prompts.reduce((sum, prompt) => sum + prompt.tokens.length, 0),
    echo: flag(body, 'echo'),
    logprobs: optionalInt(body, 'logprobs'),
    returnTokenIds: flag(body, 'return_token_ids'),
  };
}

/** A string, a list of strings, token ids, or lists of token ids. */
export function readPrompts(body: Json): Prompt[] {
  const value = body['prompt'];
  if (value === undefined || value === null) throw missingField('prompt', body);
  if (typeof value === 'string') return [fromText(value)];
  if (!Array.isArray(value)) throw badRequest('prompt must be a string, a list of strings or token ids', 'prompt');
  if (value.every((item) => typeof item === 'number')) return [fromIds(value)];
  if (value.length > MOST_PROMPTS) {
    throw badRequest(
      `prompt list length ${value.length} exceeds the maximum allowed count of ${MOST_PROMPTS}. To increase this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable. (parameter=prompt)`,
      'prompt',
    );
  }
  return value.map((item) => (Array.isArray(item) ? fromIds(item.map(Number)) : fromText(String(item))));
}

export function fromText(text: string): Prompt {
  return { text, tokens: pieces(text), fromIds: false };
}

export function fromIds(ids: readonly number[]): Prompt {
  const outside = ids.find((id) => id < 0 || id >= VOCABULARY);
  if (outside !== undefined) throw badRequest(`Token id ${outside} is out of vocabulary`);
  const tokens = ids.map((id) => pieceOf(id));
  return { text: tokens.join(''), tokens, fromIds: true };
}

function generationOf(x: Exchange, job: CompletionJob): Omit<Parameters<typeof enqueue>[1], 'listener'> {
  const first = job.choices[0]?.prompt ?? fromText('');
  return {
    id: job.id,
    prompt: first,
    maxTokens: job.sampling.maxTokens,
    plans: job.choices.map(({ answer, prompt }) => ({ ...planOf(answer), promptTokens: prompt.tokens.length })),
    pace: paceOf(x, job.sampling),
  };
}

function plain(x: Exchange, job: CompletionJob): void {
  const emitted = job.choices.map(() => 0);
  const reasons: FinishReason[] = job.choices.map(() => 'stop');
  let left = job.choices.length;
  let cached = 0;
  const finish = (): void => {
    const completion = emitted.reduce((sum, count) => sum + count, 0);
    const measured = x.app.options.on('enable-per-request-metrics');
    const body = {
      id: job.id,
      object: 'text_completion',
      created: job.created,
      model: job.model,
      choices: job.choices.map((choice, index) =>
        plainChoice(job, choice, index, emitted[index] ?? 0, reasons[index] ?? 'stop'),
      ),
      service_tier: null,
      system_fingerprint: x.app.fingerprint,
      usage: fullUsage(x, { prompt: job.promptTokens, completion, cached }),
      kv_transfer_params: null,
      ec_transfer_params: null,
      metrics: measured ? { ...requestMetrics(x, completion), speculative_decoding: null } : null,
    };
    x.json(200, body, orcaHeader(x));
  };
  const listener = {
    token: (index: number): void => {
      emitted[index] = (emitted[index] ?? 0) + 1;
    },
    finished: (index: number, reason: FinishReason): void => {
      reasons[index] = reason;
      left -= 1;
      if (left === 0) finish();
    },
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  void enqueue(x, { ...generationOf(x, job), listener }).then(
    (running) => {
      cached = running.cachedTokens;
    },
    (error: Error) => {
      if (!x.gone) x.error(asRequestError(error));
    },
  );
}

function plainChoice(job: CompletionJob, choice: Choice, index: number, emitted: number, reason: FinishReason): Json {
  const { answer, prompt } = choice;
  const text = textOf(answer, emitted);
  const logprobs = job.logprobs === undefined ? null : logprobsOf(job, choice, emitted);
  return {
    index,
    text: job.echo ? prompt.text + text : text,
    logprobs,
    finish_reason: reason,
    stop_reason: reason === 'stop' ? answer.stopReason : null,
    token_ids: job.returnTokenIds ? tokenIds(answer.pieces.slice(0, emitted)) : null,
    prompt_logprobs: job.echo && job.logprobs !== undefined ? [null] : null,
    prompt_token_ids: job.returnTokenIds ? tokenIds(prompt.tokens) : null,
    routed_experts: null,
  };
}

function logprobsOf(job: CompletionJob, choice: Choice, emitted: number): Json {
  const before = job.echo ? choice.prompt.tokens : [];
  const tokens = [...before, ...choice.answer.pieces.slice(0, emitted)];
  let offset = 0;
  const offsets = tokens.map((token) => {
    offset += token.length;
    return offset - token.length;
  });
  const unknown = (index: number): boolean => job.echo && index === 0;
  const top = (token: string): Json =>
    Object.fromEntries(
      Array.from({ length: (job.logprobs ?? 0) + 1 }, (_, rank) => [
        rank === 0 ? token : pieceOf(tokenId(token) + rank),
        LOGPROB,
      ]),
    );
  return {
    text_offset: offsets,
    token_logprobs: tokens.map((_, index) => (unknown(index) ? null : LOGPROB)),
    tokens,
    top_logprobs: tokens.map((token, index) => (unknown(index) ? null : top(token))),
  };
}

function stream(x: Exchange, job: CompletionJob): void {
  const events = new EventStream(x, 'openai');
  events.open();
  const { id, created, model, sampling } = job;
  const emitted = job.choices.map(() => 0);
  const held: string[] = job.choices.map(() => '');
  let left = job.choices.length;
  let cached = 0;
  const total = (): number => emitted.reduce((sum, count) => sum + count, 0);
  const send = (choices: readonly Json[], rest: Json): void =>
    events.send(JSON.stringify({ id, object: 'text_completion', created, model, choices, ...rest }));
  const tail = (): Json => ({
    system_fingerprint: x.app.fingerprint,
    ...(x.app.options.on('enable-per-request-metrics') ? { metrics: requestMetrics(x, total()) } : {}),
  });
  const chunk = (index: number, text: string, reason: FinishReason | null): void => {
    const answer = job.choices[index]?.answer;
    const stopped = reason === 'stop' ? (answer?.stopReason ?? null) : null;
    const ids = job.returnTokenIds ? tokenIds([text]) : null;
    const choice = {
      index,
      text,
      logprobs: null,
      finish_reason: reason,
      stop_reason: stopped,
      prompt_token_ids: null,
      token_ids: ids,
    };
    const prompt = job.choices[index]?.prompt.tokens.length ?? 0;
    const usage = sampling.continuousUsage
      ? { usage: usageOf({ prompt, completion: emitted[index] ?? 0, cached }) }
      : {};
    send([choice], { ...usage, ...(reason !== null && !sampling.includeUsage ? tail() : {}) });
  };
  const listener = {
    token: (index: number, piece: string, position: number): void => {
      const choice = job.choices[index];
      const text = position === 0 && job.echo ? (choice?.prompt.text ?? '') + piece : piece;
      emitted[index] = position + 1;
      if (position === (choice?.answer.pieces.length ?? 0) - 1) held[index] = text;
      else chunk(index, text, null);
    },
    finished: (index: number, reason: FinishReason): void => {
      chunk(index, held[index] ?? '', reason);
      left -= 1;
      if (left > 0) return;
      if (sampling.includeUsage) {
        send([], { usage: streamUsage(x, { prompt: job.promptTokens, completion: total(), cached }), ...tail() });
      }
      events.finish();
    },
    failed: (error: Error): void => events.fail(failureOf(error)),
  };
  void enqueue(x, { ...generationOf(x, job), listener }).then(
    (running) => {
      cached = running.cachedTokens;
      events.onCut(running.abort);
    },
    (error: Error) => events.fail(asRequestError(error)),
  );
}

/** Body of `/inference/v1/generate`: ids in. */
export function readTokenIds(body: Json): Prompt {
  const ids = body['token_ids'];
  if (!Array.isArray(ids)) throw missingField('token_ids', body);
  return fromIds(ids.map(Number));
}

export function samplingParams(body: Json): Json {
  return isObject(body['sampling_params']) ? body['sampling_params'] : {};
}
