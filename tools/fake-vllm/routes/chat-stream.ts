import { shortId } from '../app.ts';
import { planOf } from '../answer.ts';
import type { Json } from '../body.ts';
import { chatLogprob, continuousUsage, requestMetrics, streamUsage, tokenIds } from '../chat-parts.ts';
import type { SequenceListener } from '../engine.ts';
import type { Exchange } from '../exchange.ts';
import { enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import { paceOf } from '../sampling.ts';
import { EventStream } from '../sse.ts';
import { type ChatJob, finishReason } from './chat-job.ts';
import { asRequestError } from './request-parts.ts';

/** Answers a chat request as events: roles with the first output, deltas, a finish chunk each, usage, `[DONE]`. */
export function streamChat(x: Exchange, job: ChatJob): void {
  const stream = new EventStream(x, 'openai');
  stream.open();
  const frames = new ChatFrames(x, job, stream);
  void enqueue(x, {
    id: job.id,
    prompt: job.prompt,
    maxTokens: job.sampling.maxTokens,
    plans: job.answers.map(planOf),
    pace: paceOf(x, job.sampling),
    listener: frames,
  }).then(
    (running) => {
      frames.cached = running.cachedTokens;
      stream.onCut(running.abort);
    },
    (error: Error) => stream.fail(asRequestError(error)),
  );
}

class ChatFrames implements SequenceListener {
  private readonly x: Exchange;
  private readonly job: ChatJob;
  private readonly stream: EventStream;
  private readonly emitted: number[];
  /** The last piece of a sequence waits for its finish reason. */
  private readonly held: (string | undefined)[];
  private opened = false;
  private left: number;
  cached = 0;

  constructor(x: Exchange, job: ChatJob, stream: EventStream) {
    this.x = x;
    this.job = job;
    this.stream = stream;
    this.emitted = job.answers.map(() => 0);
    this.held = job.answers.map(() => undefined);
    this.left = job.answers.length;
  }

  token(index: number, piece: string, position: number): void {
    this.roles();
    this.emitted[index] = position + 1;
    const answer = this.job.answers[index];
    const isLast = position === (answer?.pieces.length ?? 0) - 1;
    if (isLast && answer?.call === undefined) {
      this.held[index] = piece;
      return;
    }
    this.chunk(index, this.delta(index, piece, position), piece, null);
  }

  finished(index: number, reason: FinishReason): void {
    this.roles();
    const answer = this.job.answers[index];
    if (answer === undefined) return;
    const piece = this.held[index];
    const delta = answer.call === undefined ? { content: piece ?? '' } : {};
    this.chunk(
      index,
      delta,
      piece,
      finishReason(this.job, answer, reason),
      reason === 'stop' ? answer.stopReason : null,
    );
    this.left -= 1;
    if (this.left > 0) return;
    if (this.job.sampling.includeUsage) this.usage();
    this.stream.finish();
  }

  failed(error: Error): void {
    this.stream.fail(failureOf(error));
  }

  private delta(index: number, piece: string, position: number): Json {
    const name = this.job.answers[index]?.call;
    if (name === undefined) return { content: piece };
    const call =
      position === 0
        ? { id: `chatcmpl-tool-${shortId()}`, type: 'function', index: 0, function: { name } }
        : { index: 0, function: { arguments: piece } };
    return { content: null, tool_calls: [call] };
  }

  private roles(): void {
    if (this.opened) return;
    this.opened = true;
    const ids = this.job.returnTokenIds ? tokenIds(this.job.prompt.tokens) : null;
    for (const index of this.job.answers.keys()) {
      const choice = { index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null };
      this.send([choice], index, { prompt_token_ids: ids, prompt_text: null });
    }
  }

  private chunk(
    index: number,
    delta: Json,
    piece: string | undefined,
    finish: string | null,
    stop: string | null = null,
  ): void {
    const { job } = this;
    const logprobs = job.logprobs && piece !== undefined ? { content: [chatLogprob(piece, job.topLogprobs)] } : null;
    const ids = job.returnTokenIds && piece !== undefined ? tokenIds([piece]) : null;
    const choice: Json = { index, delta, logprobs, finish_reason: finish };
    if (finish !== null) choice['stop_reason'] = stop;
    choice['token_ids'] = ids;
    const isLast = finish !== null && !job.sampling.includeUsage;
    this.send([choice], index, isLast ? this.tail() : {});
  }

  private usage(): void {
    const completion = this.emitted.reduce((sum, count) => sum + count, 0);
    const usage = streamUsage(this.x, { prompt: this.job.prompt.tokens.length, completion, cached: this.cached });
    this.send([], undefined, { usage, ...this.tail() });
  }

  /** What the last frame carries. */
  private tail(): Json {
    const completion = this.emitted.reduce((sum, count) => sum + count, 0);
    const measured = this.x.app.options.on('enable-per-request-metrics');
    return {
      system_fingerprint: this.x.app.fingerprint,
      ...(measured ? { metrics: requestMetrics(this.x, completion) } : {}),
    };
  }

  private send(choices: readonly Json[], index: number | undefined, rest: Json): void {
    const { job } = this;
    const continuous =
      job.sampling.continuousUsage && index !== undefined
        ? {
            usage: continuousUsage({
              prompt: job.prompt.tokens.length,
              completion: this.emitted[index] ?? 0,
              cached: this.cached,
            }),
          }
        : {};
    const { id, created, model } = job;
    const frame = { id, object: 'chat.completion.chunk', created, model, choices, ...continuous, ...rest };
    this.stream.send(JSON.stringify(frame));
  }
}
