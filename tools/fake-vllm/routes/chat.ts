import { shortId } from '../app.ts';
import { type Answer, canonicalModel, planAnswers, planOf, textOf } from '../answer.ts';
import { flag, type Json, optionalInt, readJson } from '../body.ts';
import { chatLogprob, tokenIds } from '../chat-parts.ts';
import type { FinishReason } from '../metrics.ts';
import { badRequest, scaleOutDisabled } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import { checkLength, readMessages, renderChat } from '../render.ts';
import { paceOf, readSampling } from '../sampling.ts';
import { decideTool, readTools } from '../tools.ts';
import { chatBody, type ChatJob, finishReason } from './chat-job.ts';
import { streamChat } from './chat-stream.ts';
import { asRequestError, checkRank, orcaHeader, requestId } from './request-parts.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

export function chatRoutes(): Route[] {
  const refused = (): never => {
    throw scaleOutDisabled();
  };
  return [
    route('POST', '/v1/chat/completions', chat),
    route('POST', '/v1/chat/completions/render', (x) => (x.app.options.on('enable-scale-out') ? render(x) : refused())),
    route('POST', '/v1/chat/completions/derender', refused),
  ];
}

export async function chat(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const job = readChat(x, body);
  await admit(x, job.sampling.n);
  if (x.faults.has('never_ending_headers')) endlessHeaders(x);
  else if (job.sampling.stream) streamChat(x, job);
  else plainChat(x, job);
}

/** @throws RequestError for everything the real server would refuse. */
export function readChat(x: Exchange, body: Json): ChatJob {
  const messages = readMessages(body);
  checkTypes(body);
  checkTemplate(x, body);
  const model = canonicalModel(x, body);
  checkRank(x);
  const tools = readTools(body);
  const listed = body['tool_choice'] === 'none' ? [] : tools;
  const prompt = renderChat(messages, listed, model, x.app.knobs.multimodal);
  const sampling = readSampling(x, body, prompt, ['max_completion_tokens', 'max_tokens']);
  const decision = decideTool(body['tool_choice'], tools, prompt, x.app.options);
  checkLength(prompt, x.app.options.maxModelLen);
  return {
    id: `chatcmpl-${requestId(x, body)}`,
    model,
    created: Math.floor(Date.now() / 1000),
    prompt,
    sampling,
    answers: planAnswers(x, body, prompt, sampling, decision),
    decision,
    logprobs: flag(body, 'logprobs'),
    topLogprobs: optionalInt(body, 'top_logprobs') ?? 0,
    returnTokenIds: flag(body, 'return_token_ids'),
  };
}

/** pydantic looks at every field before anything else does. */
function checkTypes(body: Json): void {
  for (const name of ['max_tokens', 'max_completion_tokens', 'n', 'top_logprobs', 'min_tokens'])
    optionalInt(body, name);
}

function checkTemplate(x: Exchange, body: Json): void {
  if (body['chat_template'] === undefined || x.app.options.on('trust-request-chat-template')) return;
  throw badRequest(
    'Chat template is passed with request, but --trust-request-chat-template is not set. Refused request with untrusted chat template.',
  );
}

function plainChat(x: Exchange, job: ChatJob): void {
  const emitted = job.answers.map(() => 0);
  const reasons: (FinishReason | undefined)[] = job.answers.map(() => undefined);
  let cached = 0;
  let left = job.answers.length;
  const listener = {
    token: (index: number): void => {
      emitted[index] = (emitted[index] ?? 0) + 1;
    },
    finished: (index: number, reason: FinishReason): void => {
      reasons[index] = reason;
      left -= 1;
      if (left > 0) return;
      const choices = job.answers.map((answer, at) =>
        chatChoice(job, answer, at, emitted[at] ?? 0, reasons[at] ?? 'stop'),
      );
      const completion = emitted.reduce((sum, count) => sum + count, 0);
      x.json(200, chatBody(x, job, choices, { prompt: job.prompt.tokens.length, completion, cached }), orcaHeader(x));
    },
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  void enqueue(x, {
    id: job.id,
    prompt: job.prompt,
    maxTokens: job.sampling.maxTokens,
    plans: job.answers.map(planOf),
    pace: paceOf(x, job.sampling),
    listener,
  }).then(
    (running) => {
      cached = running.cachedTokens;
    },
    (error: Error) => {
      if (!x.gone) x.error(asRequestError(error));
    },
  );
}

function chatChoice(job: ChatJob, answer: Answer, index: number, emitted: number, reason: FinishReason): Json {
  const text = textOf(answer, emitted);
  const ids = job.returnTokenIds ? tokenIds(answer.pieces.slice(0, emitted)) : null;
  const call =
    answer.call === undefined
      ? {}
      : {
          tool_calls: [
            { id: `chatcmpl-tool-${shortId()}`, type: 'function', function: { name: answer.call, arguments: text } },
          ],
        };
  const logprobs = job.logprobs
    ? { content: answer.pieces.slice(0, emitted).map((piece) => chatLogprob(piece, job.topLogprobs)) }
    : null;
  return {
    index,
    message: {
      role: 'assistant',
      content: answer.call === undefined ? text : '',
      refusal: null,
      annotations: null,
      audio: null,
      function_call: null,
      ...call,
      reasoning: null,
    },
    logprobs,
    finish_reason: finishReason(job, answer, reason),
    stop_reason: reason === 'stop' ? answer.stopReason : null,
    token_ids: ids,
    routed_experts: null,
  };
}

function render(x: Exchange): void {
  const body = readJson(x);
  const job = readChat(x, body);
  x.json(200, {
    request_id: job.id,
    token_ids: tokenIds(job.prompt.tokens),
    token_offsets: null,
    features: null,
    content_parts: null,
    sampling_params: {
      presence_penalty: 0,
      frequency_penalty: 0,
      repetition_penalty: 1,
      temperature: job.sampling.temperature,
      top_p: job.sampling.topP,
      min_p: 0,
      stop: job.sampling.stop,
      stop_token_ids: [],
      max_tokens: job.sampling.maxTokens,
      output_kind: 2,
      skip_clone: true,
      bad_words: [],
      skip_reading_prefix_cache: false,
    },
    model: job.model,
    reasoning_ended: null,
    reasoning_parser_kwargs: null,
    return_token_ids: null,
    output_mode: 'tokens',
    stream: job.sampling.stream,
    stream_options: null,
    cache_salt: null,
    priority: 0,
    kv_transfer_params: null,
    ec_transfer_params: null,
  });
}
