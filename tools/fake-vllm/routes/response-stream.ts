import { shortId } from '../app.ts';
import { type Answer, planOf, textOf } from '../answer.ts';
import { isObject, type Json } from '../body.ts';
import { requestMetrics } from '../chat-parts.ts';
import type { SequenceListener } from '../engine.ts';
import type { Exchange } from '../exchange.ts';
import { enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import type { Prompt } from '../render.ts';
import { paceOf, type Sampling } from '../sampling.ts';
import { EventStream } from '../sse.ts';
import { asRequestError } from './request-parts.ts';

export interface ResponseJob {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly prompt: Prompt;
  readonly sampling: Sampling;
  readonly answer: Answer;
  readonly request: Json;
  readonly background: boolean;
  readonly store: boolean;
  readonly messageId: string;
}

interface Progress {
  readonly status: 'queued' | 'in_progress' | 'completed' | 'incomplete';
  readonly emitted: number;
  readonly cached: number;
  /** Set once there is output. */
  readonly text?: string;
}

/** The `response` object, every field of 0.32. */
export function responseObject(x: Exchange, job: ResponseJob, progress: Progress): Json {
  const { request } = job;
  const finished = progress.text !== undefined;
  const tools = Array.isArray(request['tools']) ? request['tools'].map(toolOf) : [];
  const measured = finished && x.app.options.on('enable-per-request-metrics');
  return {
    id: job.id,
    created_at: job.created,
    incomplete_details: progress.status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: request['instructions'] ?? null,
    metadata: request['metadata'] ?? null,
    model: job.model,
    object: 'response',
    output: finished ? [outputItem(job, progress.text, 'completed')] : [],
    parallel_tool_calls: true,
    temperature: job.sampling.temperature,
    tool_choice: request['tool_choice'] ?? (tools.length > 0 ? 'auto' : 'none'),
    tools,
    top_p: job.sampling.topP,
    background: job.background,
    max_output_tokens: job.sampling.maxTokens,
    max_tool_calls: null,
    previous_response_id: request['previous_response_id'] ?? null,
    prompt: null,
    reasoning: null,
    service_tier: 'auto',
    status: progress.status,
    text: request['text'] ?? null,
    top_logprobs: null,
    truncation: 'disabled',
    usage: finished ? usage(job, progress) : null,
    user: request['user'] ?? null,
    ...(measured ? { metrics: { ...requestMetrics(x, progress.emitted), speculative_decoding: null } } : {}),
    presence_penalty: 0,
    frequency_penalty: 0,
    kv_transfer_params: null,
    ec_transfer_params: null,
    input_messages: null,
    output_messages: null,
  };
}

function usage(job: ResponseJob, progress: Progress): Json {
  const input = job.prompt.tokens.length;
  return {
    input_tokens: input,
    input_tokens_details: {
      cached_tokens: progress.cached,
      cache_write_tokens: 0,
      input_tokens_per_turn: [],
      cached_tokens_per_turn: [],
    },
    output_tokens: progress.emitted,
    output_tokens_details: {
      reasoning_tokens: 0,
      tool_output_tokens: 0,
      output_tokens_per_turn: [],
      tool_output_tokens_per_turn: [],
    },
    total_tokens: input + progress.emitted,
  };
}

function toolOf(tool: unknown): Json {
  const given = isObject(tool) ? tool : {};
  return {
    name: given['name'] ?? null,
    parameters: given['parameters'] ?? null,
    strict: given['strict'] ?? null,
    type: given['type'] ?? 'function',
    allowed_callers: null,
    async: null,
    defer_loading: null,
    description: given['description'] ?? null,
    output_schema: null,
  };
}

function textPart(text: string): Json {
  return { annotations: [], text, type: 'output_text', logprobs: null };
}

function outputItem(job: ResponseJob, text: string, status: string): Json {
  const { call } = job.answer;
  if (call !== undefined) {
    return {
      arguments: text,
      call_id: `chatcmpl-tool-${shortId()}`,
      name: call,
      type: 'function_call',
      id: job.messageId,
      async: null,
      caller: null,
      namespace: null,
      status,
    };
  }
  const content = status === 'in_progress' ? [] : [textPart(text)];
  return { id: job.messageId, content, role: 'assistant', status, type: 'message', phase: null };
}

/** Named, numbered events; no `[DONE]`. A truncated answer ends with `response.completed` too. */
export function streamResponse(x: Exchange, job: ResponseJob): void {
  const stream = new EventStream(x, 'responses');
  stream.open();
  const events = new ResponseEvents(x, job, stream);
  const { id, prompt, sampling, answer } = job;
  const { maxTokens } = sampling;
  const generation = { id, prompt, maxTokens, plans: [planOf(answer)], pace: paceOf(x, sampling), listener: events };
  void enqueue(x, generation).then(
    (running) => {
      stream.onCut(running.abort);
      events.begin(running.cachedTokens);
    },
    (error: Error) => stream.fail(asRequestError(error)),
  );
}

class ResponseEvents implements SequenceListener {
  private readonly x: Exchange;
  private readonly job: ResponseJob;
  private readonly stream: EventStream;
  private number = 0;
  private emitted = 0;
  private cached = 0;
  private opened = false;

  constructor(x: Exchange, job: ResponseJob, stream: EventStream) {
    this.x = x;
    this.job = job;
    this.stream = stream;
  }

  /** Sent before the first token, while the request may still be queued. */
  begin(cached: number): void {
    this.cached = cached;
    const response = responseObject(this.x, this.job, { status: 'in_progress', emitted: 0, cached });
    this.send('response.created', { response });
    this.send('response.in_progress', { response });
  }

  token(_index: number, piece: string): void {
    this.open();
    this.emitted += 1;
    if (piece === '') return;
    if (this.job.answer.call === undefined) {
      this.send('response.output_text.delta', { ...this.part(), delta: piece, logprobs: [] });
    } else {
      this.send('response.function_call_arguments.delta', { ...this.place(), delta: piece });
    }
  }

  finished(_index: number, reason: FinishReason): void {
    this.open();
    const text = textOf(this.job.answer, this.emitted);
    this.close(text);
    const status = reason === 'length' ? 'incomplete' : 'completed';
    const { emitted, cached } = this;
    const response = responseObject(this.x, this.job, { status, emitted, cached, text });
    if (this.job.store) this.x.app.responses.set(this.job.id, response);
    this.send('response.completed', { response });
    this.stream.finish();
  }

  failed(error: Error): void {
    this.stream.fail(failureOf(error));
  }

  private open(): void {
    if (this.opened) return;
    this.opened = true;
    const item = outputItem(this.job, '', 'in_progress');
    this.send('response.output_item.added', { item, output_index: 0 });
    if (this.job.answer.call !== undefined) return;
    this.send('response.content_part.added', { ...this.part(), part: { ...textPart(''), logprobs: [] } });
  }

  private close(text: string): void {
    const { call } = this.job.answer;
    if (call === undefined) {
      this.send('response.output_text.done', { ...this.part(), logprobs: [], text });
      this.send('response.content_part.done', { ...this.part(), part: textPart(text) });
    } else {
      this.send('response.function_call_arguments.done', { ...this.place(), arguments: text, name: call });
    }
    this.send('response.output_item.done', { item: outputItem(this.job, text, 'completed'), output_index: 0 });
  }

  private place(): Json {
    return { item_id: this.job.messageId, output_index: 0 };
  }

  private part(): Json {
    return { content_index: 0, ...this.place() };
  }

  private send(type: string, rest: Json): void {
    // Events list their keys by name.
    const fields = Object.entries({ ...rest, sequence_number: this.number, type });
    const sorted = fields.sort(([left], [right]) => (left < right ? -1 : 1));
    this.stream.send(JSON.stringify(Object.fromEntries(sorted)), type);
    this.number += 1;
  }
}
