/** Streams that are in the middle of something, and what became of the replica that served them. */
import { expect } from 'vitest';
import type { Clients } from './clients.ts';
import { enginesOf } from './engine-processes.ts';
import { eventually } from './eventually.ts';
import type { TestGateway } from './in-process-gateway.ts';
import { statusOf } from './simulated-fleet.ts';
import { framesOf, type Frame, type StreamEnd } from './sse-frames.ts';

export interface OpenStream {
  readonly replica: string;
  /** All that came, once it is over. */
  readonly end: Promise<StreamEnd>;
}

/** For minutes. */
export const ENDLESS = { tokens: 10_000, token_ms: 20 };

/** A chat stream that has shown its first events. */
export async function openStream(
  clients: Clients,
  model: string,
  fake: Readonly<Record<string, unknown>> = ENDLESS,
): Promise<OpenStream> {
  const answer = await clients.open(model, { stream: true, fake });
  expect(answer.status).toBe(200);
  const frames = framesOf(answer.body);
  const seen: Frame[] = [];
  while (seen.length < 2) {
    const next = await frames.next();
    if (next.done === true) break;
    seen.push(next.value);
  }
  return { replica: answer.headers['x-vgw-replica'] ?? '', end: drained(frames, seen) };
}

async function drained(frames: AsyncIterable<Frame>, seen: Frame[]): Promise<StreamEnd> {
  try {
    for await (const frame of frames) seen.push(frame);
    return { frames: seen, broken: false };
  } catch {
    return { frames: seen, broken: true };
  }
}

/** The error objects among the events of a stream in OpenAI's dialect. */
export function errorsIn(frames: readonly Frame[]): readonly Record<string, unknown>[] {
  return frames.flatMap((frame) => {
    if (frame.data === null || frame.data === '[DONE]') return [];
    const { error } = JSON.parse(frame.data) as { readonly error?: Record<string, unknown> };
    return error === undefined ? [] : [error];
  });
}

/** Kinds of the decisions on one replica, in order. */
export function decisionsOn(gateway: TestGateway, replica: string): readonly string[] {
  return gateway.lines.flatMap((line) => {
    const entry = JSON.parse(line) as { readonly event?: string; readonly replica?: string };
    return entry.replica === replica && entry.event !== undefined ? [entry.event] : [];
  });
}

/** Resolves when the fleet has forgotten it; then no process of it may be left. */
export async function goneWithoutTrace(gateway: TestGateway, replica: string): Promise<void> {
  await eventually(`${replica} is gone`, async () => (await statusOf(gateway)).replicas[replica] === undefined);
  expect((await enginesOf(gateway.gateway.id)).filter((one) => one.replica === replica)).toEqual([]);
}
