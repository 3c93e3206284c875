import { scaled } from './app.ts';
import type { Json } from './body.ts';
import type { Exchange } from './exchange.ts';
import { pieceOf, tokenId } from './text.ts';

/** Token counts of one request. */
export interface Usage {
  readonly prompt: number;
  readonly completion: number;
  readonly cached: number;
}

export function usageOf(usage: Usage): Json {
  return {
    prompt_tokens: usage.prompt,
    total_tokens: usage.prompt + usage.completion,
    completion_tokens: usage.completion,
  };
}

/** As plain answers show it: every field, null or not. */
export function fullUsage(x: Exchange, usage: Usage): Json {
  return {
    ...usageOf(usage),
    prompt_tokens_details: x.app.options.on('enable-prompt-tokens-details')
      ? { ...cacheDetails(usage), multimodal_tokens: null }
      : null,
    completion_tokens_details: null,
  };
}

/** As the last frame of a stream shows it: nothing that is null. */
export function streamUsage(x: Exchange, usage: Usage): Json {
  const details = x.app.options.on('enable-prompt-tokens-details')
    ? { prompt_tokens_details: cacheDetails(usage) }
    : {};
  return { ...usageOf(usage), ...details };
}

function cacheDetails(usage: Usage): Json {
  const created = Math.max(0, Math.floor(usage.prompt / 128) * 128 - usage.cached);
  return { cached_tokens: usage.cached, created_cache_tokens: created };
}

export function continuousUsage(usage: Usage): Json {
  return { ...usageOf(usage), completion_tokens_details: null };
}

/** The `metrics` object of `--enable-per-request-metrics`. */
export function requestMetrics(x: Exchange, completion: number): Json {
  const elapsed = performance.now() - x.started;
  const itl = scaled(x.app, x.app.knobs.tokenMs);
  return {
    time_to_first_token_ms: Math.max(0.01, elapsed - itl * completion),
    generation_time_ms: elapsed,
    queue_time_ms: 0.05,
    mean_itl_ms: itl,
    tokens_per_second: (completion / elapsed) * 1000,
  };
}

/** One chosen token with `top` alternatives. */
export function chatLogprob(piece: string, top: number): Json {
  const entry = (text: string): Json => ({
    token: text,
    logprob: -6.238_322_734_832_764,
    bytes: [...Buffer.from(text)],
  });
  const alternatives = Array.from({ length: top }, (_, rank) =>
    entry(rank === 0 ? piece : pieceOf(tokenId(piece) + rank)),
  );
  return { ...entry(piece), top_logprobs: alternatives };
}

export function tokenIds(pieces: readonly string[]): number[] {
  return pieces.map((piece) => tokenId(piece));
}
