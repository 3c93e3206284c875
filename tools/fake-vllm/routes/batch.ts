import { type Json, readJson } from '../body.ts';
import type { Exchange } from '../exchange.ts';
import { admit, enqueue, failureOf } from '../generate.ts';
import { planOf, textOf } from '../answer.ts';
import type { FinishReason } from '../metrics.ts';
import { paceOf } from '../sampling.ts';
import { readChat } from './chat.ts';
import { chatBody } from './chat-job.ts';
import { asRequestError } from './request-parts.ts';
import { applyFake } from './fake.ts';
import { readMessages } from '../render.ts';
import { type Route, route } from './route.ts';

export function batchRoutes(): Route[] {
  return [route('POST', '/v1/chat/completions/batch', batch)];
}

/** Several conversations in one request, one choice each; never streamed. */
async function batch(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const jobs = readMessages(body).map((messages) => readChat(x, { ...body, messages, stream: false, n: 1 }));
  const first = jobs[0];
  if (first === undefined) return void x.json(400, { detail: 'messages must not be empty' });
  await admit(x, jobs.length);
  const answers = jobs.flatMap((job) => job.answers);
  const emitted = answers.map(() => 0);
  const choices: (Json | undefined)[] = answers.map(() => undefined);
  const prompt = jobs.reduce((sum, job) => sum + job.prompt.tokens.length, 0);
  const listener = {
    token: (index: number): void => {
      emitted[index] = (emitted[index] ?? 0) + 1;
    },
    finished: (index: number, reason: FinishReason): void => {
      const answer = answers[index];
      if (answer === undefined) return;
      const content = textOf(answer, emitted[index] ?? 0);
      const message = {
        role: 'assistant',
        content,
        refusal: null,
        annotations: null,
        audio: null,
        function_call: null,
      };
      choices[index] = {
        index,
        message: { ...message, reasoning: null },
        logprobs: null,
        finish_reason: reason,
        stop_reason: answer.stopReason,
        token_ids: null,
        routed_experts: null,
      };
      const done = choices.filter((choice) => choice !== undefined);
      const completion = emitted.reduce((sum, count) => sum + count, 0);
      if (done.length === answers.length) x.json(200, chatBody(x, first, done, { prompt, completion, cached: 0 }));
    },
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  const plans = jobs.flatMap((job) =>
    job.answers.map((answer) => ({ ...planOf(answer), promptTokens: job.prompt.tokens.length })),
  );
  const { id, sampling } = first;
  const generation = {
    id,
    prompt: first.prompt,
    maxTokens: sampling.maxTokens,
    plans,
    pace: paceOf(x, sampling),
    listener,
  };
  await enqueue(x, generation).catch((error: Error) => {
    if (!x.gone) x.error(asRequestError(error));
  });
}
