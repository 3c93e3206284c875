/** Requests to the gateway, and what it says when it refuses. */
import type { Command, ErrorAnswer, PlanAnswer, ReloadAnswer } from '../../src/admin/contract.ts';
import { keyHeaders } from './key.ts';

/** The gateway answered, and refused. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Rejects with a Refusal, or with what `fetch` rejects with when nobody answers. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await send(path, init);
  if (!response.ok) throw new Refusal(response.status, await messageOf(response));
  return response;
}

function send(path: string, init: RequestInit): Promise<Response> {
  const headers = { ...keyHeaders(), ...Object.fromEntries(new Headers(init.headers)) };
  return fetch(path, { cache: 'no-store', ...init, headers });
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as ErrorAnswer).error.message;
  } catch {
    return text.slice(0, 300) || `The gateway answered ${response.status}.`;
  }
}

export async function command(name: Command, model: string): Promise<void> {
  await ask(`/gateway/models/${encodeURIComponent(model)}/${name}`, { method: 'POST' });
}

export async function plan(model: string | null, signal: AbortSignal): Promise<PlanAnswer> {
  const query = model === null ? '' : `?model=${encodeURIComponent(model)}`;
  return (await ask(`/gateway/plan${query}`, { signal })).json() as Promise<PlanAnswer>;
}

/** That the configuration cannot be used is an answer too, with every problem in it. */
export async function reload(dryRun: boolean): Promise<ReloadAnswer> {
  const response = await send(`/gateway/reload${dryRun ? '?dry_run=true' : ''}`, { method: 'POST' });
  if (!response.ok && response.status !== 422) throw new Refusal(response.status, await messageOf(response));
  return response.json() as Promise<ReloadAnswer>;
}

/** The configuration in force, defaults included, secrets left out. */
export async function effectiveConfig(signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
  return (await ask('/gateway/config', { signal })).json() as Promise<Readonly<Record<string, unknown>>>;
}

/** An admin key would have helped. */
export function wantsKey(error: unknown): boolean {
  return error instanceof Refusal && (error.status === 401 || error.status === 403);
}

export function wordsFor(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  return 'The gateway does not answer.';
}
