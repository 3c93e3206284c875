import type { Answer } from '../answer.ts';
import type { Json } from '../body.ts';
import { fullUsage, requestMetrics, tokenIds, type Usage } from '../chat-parts.ts';
import type { Exchange } from '../exchange.ts';
import type { FinishReason } from '../metrics.ts';
import type { Prompt } from '../render.ts';
import type { Sampling } from '../sampling.ts';
import type { ToolDecision } from '../tools.ts';

/** A chat request, checked and planned. */
export interface ChatJob {
  readonly id: string;
  readonly model: string;
  readonly created: number;
  readonly prompt: Prompt;
  readonly sampling: Sampling;
  readonly answers: readonly Answer[];
  readonly decision: ToolDecision | undefined;
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  readonly returnTokenIds: boolean;
}

export function finishReason(job: ChatJob, answer: Answer, reason: FinishReason): string {
  return answer.call !== undefined && reason === 'stop' ? (job.decision?.reason ?? 'stop') : reason;
}

export function chatBody(
  x: Exchange,
  job: Pick<ChatJob, 'id' | 'created' | 'model' | 'prompt' | 'returnTokenIds'>,
  choices: readonly Json[],
  usage: Usage,
): Json {
  const measured = x.app.options.on('enable-per-request-metrics');
  return {
    id: job.id,
    object: 'chat.completion',
    created: job.created,
    model: job.model,
    choices,
    service_tier: null,
    system_fingerprint: x.app.fingerprint,
    usage: fullUsage(x, usage),
    prompt_logprobs: null,
    prompt_token_ids: job.returnTokenIds ? tokenIds(job.prompt.tokens) : null,
    prompt_text: null,
    kv_transfer_params: null,
    ec_transfer_params: null,
    metrics: measured ? { ...requestMetrics(x, usage.completion), speculative_decoding: null } : null,
  };
}
