/** The load: plain requests one at a time or many, and streams; each answer is looked at. */
import { Agent, request } from 'node:http';
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';

export interface Target {
  readonly port: number;
  /** As it knows the model. */
  readonly model: string;
  /** What it asks for; null = nothing. */
  readonly key: string | null;
}

export interface Sample {
  readonly requests: number;
  readonly events: number;
  /** Answers that were not what they had to be. */
  readonly faults: number;
  readonly took: Milliseconds;
  /** Of each request, in no order. */
  readonly latencies: readonly Milliseconds[];
}

const PROMPT = 'Say something. '.repeat(64);
const PLAIN_TOKENS = 16;
const STREAM_TOKENS = 128;
const EVENT = 'data: {';
const DONE = 'data: [DONE]';
const OK = 200;

interface Answer {
  readonly good: boolean;
  readonly events: number;
}

/** `workers` requests at a time, for `span`; those under way at its end are waited for. */
export async function load(
  clock: Clock,
  target: Target,
  options: {
    readonly workers: number;
    readonly stream: boolean;
    readonly span: Milliseconds;
    readonly signal: AbortSignal;
  },
): Promise<Sample> {
  const agent = new Agent({ keepAlive: true, maxSockets: options.workers });
  const body = bodyOf(target.model, options.stream);
  const began = clock.monotonic();
  const sample = { requests: 0, events: 0, faults: 0, latencies: [] as Milliseconds[] };
  const worker = async (): Promise<void> => {
    while (clock.monotonic() - began < options.span) {
      options.signal.throwIfAborted();
      const asked = clock.monotonic();
      const { good, events } = await ask(agent, target, body, options.stream);
      sample.latencies.push(clock.monotonic() - asked);
      sample.requests += 1;
      sample.events += events;
      if (!good) sample.faults += 1;
    }
  };
  // Its sockets end, and with them every request under way.
  const stop = (): void => agent.destroy();
  options.signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all(Array.from({ length: options.workers }, worker));
    return { ...sample, took: clock.monotonic() - began };
  } finally {
    options.signal.removeEventListener('abort', stop);
    agent.destroy();
  }
}

function bodyOf(model: string, stream: boolean): string {
  const tokens = stream ? STREAM_TOKENS : PLAIN_TOKENS;
  return JSON.stringify({ model, stream, max_tokens: tokens, messages: [{ role: 'user', content: PROMPT }] });
}

function ask(agent: Agent, { port, key }: Target, body: string, stream: boolean): Promise<Answer> {
  return new Promise((resolve) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
    };
    const path = '/v1/chat/completions';
    const broken = (): void => resolve({ good: false, events: 0 });
    const asked = request({ agent, host: '127.0.0.1', port, method: 'POST', path, headers }, (answer) => {
      const pieces: Buffer[] = [];
      answer.on('data', (piece: Buffer) => pieces.push(piece));
      answer.once('error', broken);
      answer.once('end', () => {
        const text = Buffer.concat(pieces).toString('latin1');
        const whole = stream ? text.includes(DONE) : text.includes('"choices"');
        resolve({ good: answer.statusCode === OK && whole, events: stream ? text.split(EVENT).length - 1 : 0 });
      });
    });
    asked.once('error', broken);
    asked.end(body);
  });
}

/** Of sorted or unsorted values; 0 of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
