import type { RequestRecord } from '../../src/telemetry/telemetry.ts';

/** A finished chat request that went well, but for the given differences. */
export function requestRecord(over: Partial<RequestRecord> = {}): RequestRecord {
  return {
    id: 'request-1',
    keyId: 'anonymous',
    method: 'POST',
    route: 'chat_completions',
    model: 'llama',
    stream: false,
    status: 200,
    outcome: 'completed',
    code: '',
    replica: 'llama-1',
    startedAt: 1_769_000_000_000,
    durationMs: 900,
    firstByteMs: 850,
    queueMs: 12,
    coldStartMs: 0,
    addedMs: 0.4,
    attempts: 1,
    bytesIn: 120,
    bytesOut: 640,
    promptTokens: 7,
    completionTokens: 21,
    ...over,
  };
}
