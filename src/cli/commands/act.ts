/** `load`, `unload`, `pin`, `unpin`: asks for it, and tells how it goes until it is done. */
import { commandAnswer, statusAnswer } from '../../admin/contract.ts';
import type { Command, CommandAnswer } from '../../admin/contract.ts';
import { SECOND } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';
import { HEADERS_TIMEOUT, causeCode } from '../client.ts';
import type { GatewayClient } from '../client.ts';
import { findModel } from '../find-model.ts';
import { preparationText, progressText } from '../render-status.ts';
import { spanText } from '../words.ts';
import { EXIT } from '../world.ts';
import type { World } from '../world.ts';

const PROGRESS_EVERY: Milliseconds = SECOND / 2;
const CLEAR_LINE = '\r\u001b[K';

export interface ActFlags {
  readonly wait?: boolean;
  readonly json?: boolean;
}

export async function act(
  world: World,
  client: GatewayClient,
  command: Command,
  model: string,
  flags: ActFlags,
): Promise<number> {
  const { out, platform } = world;
  const began = platform.clock.monotonic();
  const wait = flags.wait === true;
  const path = `/gateway/models/${encodeURIComponent(model)}/${command}${wait ? '?wait=true' : ''}`;
  const ended = new AbortController();
  const progress = wait && world.err.isTerminal ? showProgress(world, client, model, ended.signal) : undefined;
  let answer: { text: string; value: CommandAnswer };
  try {
    answer = await untilAnswered(() => client.json(path, commandAnswer, { method: 'POST' }));
  } finally {
    ended.abort();
    await progress;
  }
  if (flags.json) out.write(`${answer.text.trimEnd()}\n`);
  else out.write(`${sentence(answer.value, platform.clock.monotonic() - began)}\n`);
  return EXIT.done;
}

/** A start may take longer than a client waits for an answer. The commands are idempotent: ask again. */
async function untilAnswered<Value>(ask: () => Promise<Value>): Promise<Value> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (causeCode(error) !== HEADERS_TIMEOUT) throw error;
    }
  }
}

function sentence({ model, command, state, done }: CommandAnswer, took: Milliseconds): string {
  if (command === 'pin') return `${model} is pinned (${state}): it is kept until \`vllm-gateway unpin ${model}\`.`;
  if (command === 'unpin') return `${model} is no longer pinned (${state}).`;
  const after = done && took >= SECOND ? ` after ${spanText(took)}` : '';
  return `${model} is ${state}${after}.`;
}

async function showProgress(world: World, client: GatewayClient, model: string, ended: AbortSignal): Promise<void> {
  const { err, platform } = world;
  const began = platform.clock.monotonic();
  while (!ended.aborted) {
    await platform.clock.sleep(PROGRESS_EVERY, ended).catch(() => undefined);
    const text = ended.aborted ? undefined : await progressOf(client, model, ended);
    if (text === undefined || ended.aborted) continue;
    const line = `${model}: ${text} (${spanText(platform.clock.monotonic() - began)})`;
    err.write(`${CLEAR_LINE}${line.slice(0, Math.max(20, err.columns - 1))}`);
  }
  err.write(CLEAR_LINE);
}

/** The line is an extra: when it cannot be had, the command itself still tells what is wrong. */
async function progressOf(client: GatewayClient, model: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { value } = await client.json('/gateway/status', statusAnswer, { signal });
    const found = findModel(value, model)?.model;
    if (!found) return undefined;
    const coming = found.replicas
      .flatMap((id) => value.replicas[id] ?? [])
      .find(({ ready_at: readyAt }) => readyAt === null);
    if (coming) return progressText(coming);
    if (found.preparation) return preparationText(found.preparation);
    return found.waiting_for === null ? found.state : `waiting for ${found.waiting_for}`;
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}
