/** One answer of a model, streamed: what the playground shows while it comes. */
import { ask } from './api.ts';
import { framesOf } from './sse.ts';

export interface Message {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

export interface Told {
  /** More text. */
  text(part: string): void;
  /** A heartbeat, or anything else that says that somebody is still there. */
  alive(): void;
}

interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null; readonly reasoning?: string | null };
  }[];
  readonly error?: { readonly message: string };
}

/** Rejects with a Refusal, or with the error that came in the middle of the stream. */
export async function complete(
  model: string,
  messages: readonly Message[],
  told: Told,
  signal: AbortSignal,
): Promise<void> {
  const response = await ask('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.body) return;
  for await (const { data } of framesOf(response.body, () => told.alive())) {
    if (data === '[DONE]') return;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) throw new Error(chunk.error.message);
    const delta = chunk.choices?.[0]?.delta;
    const text = delta?.content ?? delta?.reasoning ?? '';
    if (text !== '') told.text(text);
  }
}
