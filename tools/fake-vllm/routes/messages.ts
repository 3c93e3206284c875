import { shortId } from '../app.ts';
import { type Answer, canonicalModel, planAnswers, planOf, textOf } from '../answer.ts';
import { isObject, type Json, readJson } from '../body.ts';
import { missingField, RequestError, scaleOutDisabled } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import { checkLength, contentText, type Prompt, readMessages, renderChat } from '../render.ts';
import { paceOf, readSampling, type Sampling } from '../sampling.ts';
import { EventStream } from '../sse.ts';
import { decideTool, readTools } from '../tools.ts';
import { asRequestError, checkRank, requestId } from './request-parts.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

interface MessagesJob {
  readonly id: string;
  readonly model: string;
  readonly prompt: Prompt;
  readonly sampling: Sampling;
  readonly answer: Answer;
}

/** The Anthropic dialect of 0.32, vLLM's error type names included. */
export function messagesRoutes(): Route[] {
  const refused = (): never => {
    throw scaleOutDisabled();
  };
  return [
    route('POST', '/v1/messages', (x) => inDialect(x, messages)),
    route('POST', '/v1/messages/count_tokens', (x) => inDialect(x, countTokens)),
    route('POST', '/v1/messages/render', refused),
  ];
}

/** Complaints about the body come in the OpenAI shape, everything later in the Anthropic one. */
async function inDialect(x: Exchange, run: (x: Exchange) => void | Promise<void>): Promise<void> {
  try {
    await run(x);
  } catch (error) {
    if (!(error instanceof RequestError) || error.type === 'Bad Request') throw error;
    x.error(error, 'anthropic');
  }
}

async function messages(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const job = readJob(x, body);
  await admit(x, 1);
  if (x.faults.has('never_ending_headers')) endlessHeaders(x);
  else if (job.sampling.stream) stream(x, job);
  else plain(x, job);
}

function readJob(x: Exchange, body: Json): MessagesJob {
  for (const name of ['model', 'messages', 'max_tokens']) {
    if (body[name] === undefined) throw missingField(name, body);
  }
  const model = canonicalModel(x, body);
  checkRank(x);
  const { prompt, tools } = promptOf(x, body, model);
  const stops = body['stop_sequences'];
  const sampling = readSampling(x, { ...body, stop: stops }, prompt, ['max_tokens']);
  const decision = decideTool(body['tool_choice'], tools, prompt, x.app.options);
  checkLength(prompt, x.app.options.maxModelLen);
  const [answer] = planAnswers(x, body, prompt, sampling, decision);
  if (answer === undefined) throw new RequestError(500, 'InternalServerError', 'no answer');
  return { id: `chatcmpl-${requestId(x, body)}`, model, prompt, sampling, answer };
}

function promptOf(x: Exchange, body: Json, model: string): { prompt: Prompt; tools: ReturnType<typeof readTools> } {
  const system = body['system'];
  const lead = system === undefined ? [] : [{ role: 'system', content: contentText(system, model, false) }];
  const tools = readTools(body);
  const { multimodal } = x.app.knobs;
  return { prompt: renderChat([...lead, ...readMessages(body)], tools, model, multimodal), tools };
}

function countTokens(x: Exchange): void {
  const body = readJson(x);
  const model = canonicalModel(x, body);
  const count = promptOf(x, body, model).prompt.tokens.length;
  x.json(200, { input_tokens: count, context_management: { original_input_tokens: count } });
}

function stopReason(answer: Answer, reason: FinishReason): string {
  if (reason === 'length') return 'max_tokens';
  if (reason !== 'stop') return reason;
  return answer.call === undefined ? 'end_turn' : 'tool_use';
}

function plain(x: Exchange, job: MessagesJob): void {
  let emitted = 0;
  const { answer } = job;
  const listener = {
    token: (): void => {
      emitted += 1;
    },
    finished: (_index: number, reason: FinishReason): void => {
      const text = textOf(answer, emitted);
      const block =
        answer.call === undefined
          ? { type: 'text', text }
          : { type: 'tool_use', id: `chatcmpl-tool-${shortId()}`, name: answer.call, input: parsed(text) };
      x.json(200, {
        id: job.id,
        type: 'message',
        role: 'assistant',
        content: [block],
        model: job.model,
        stop_reason: stopReason(answer, reason),
        usage: { input_tokens: job.prompt.tokens.length, output_tokens: emitted },
      });
    },
    failed: (error: Error): void => x.error(failureOf(error), 'anthropic'),
  };
  void enqueue(x, generationOf(x, job, listener)).catch((error: Error) => {
    if (!x.gone) x.error(asRequestError(error), 'anthropic');
  });
}

function parsed(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function generationOf(
  x: Exchange,
  job: MessagesJob,
  listener: Parameters<typeof enqueue>[1]['listener'],
): Parameters<typeof enqueue>[1] {
  const { id, prompt, sampling, answer } = job;
  return { id, prompt, maxTokens: sampling.maxTokens, plans: [planOf(answer)], pace: paceOf(x, sampling), listener };
}

function stream(x: Exchange, job: MessagesJob): void {
  const events = new EventStream(x, 'messages');
  events.open();
  const { answer } = job;
  const prompt = job.prompt.tokens.length;
  let emitted = 0;
  let cached = 0;
  let opened = false;
  const send = (type: string, rest: Json): void => events.send(JSON.stringify({ type, ...rest }), type);
  const open = (): void => {
    if (opened) return;
    opened = true;
    send('message_start', {
      message: {
        id: job.id,
        type: 'message',
        role: 'assistant',
        content: [],
        model: job.model,
        stop_reason: null,
        stop_sequence: null,
        usage: { input_tokens: prompt, output_tokens: 0 },
      },
    });
    const block =
      answer.call === undefined
        ? { type: 'text', text: '' }
        : { type: 'tool_use', id: `chatcmpl-tool-${shortId()}`, name: answer.call, input: {} };
    send('content_block_start', { content_block: block, index: 0 });
  };
  const listener = {
    token: (_index: number, piece: string): void => {
      open();
      emitted += 1;
      if (piece === '') return;
      const delta =
        answer.call === undefined
          ? { type: 'text_delta', text: piece }
          : { type: 'input_json_delta', partial_json: piece };
      send('content_block_delta', { delta, index: 0 });
    },
    finished: (_index: number, reason: FinishReason): void => {
      open();
      send('content_block_stop', { index: 0 });
      const split = x.app.options.on('enable-prompt-tokens-details');
      const usage = split
        ? {
            input_tokens: prompt - cached,
            output_tokens: emitted,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
          }
        : { input_tokens: prompt, output_tokens: emitted };
      send('message_delta', { delta: { stop_reason: stopReason(answer, reason), stop_sequence: null }, usage });
      send('message_stop', {});
      events.finish();
    },
    failed: (error: Error): void => events.fail(failureOf(error)),
  };
  void enqueue(x, generationOf(x, job, listener)).then(
    (running) => {
      cached = running.cachedTokens;
      events.onCut(running.abort);
    },
    (error: Error) => events.fail(asRequestError(error)),
  );
}
