/** Proves that a starting engine is ready: it answers its health path, and lists the name that we gave it. */
import type { HttpClient, Clock } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';

const POLL_FIRST: Milliseconds = 100;
const POLL_LATER: Milliseconds = 250;
/** After this long a start is a slow one and need not be asked ten times a second. */
const POLL_SWITCH: Milliseconds = 30 * SECOND;
/** What servers answer that are up and not ready. */
const LOADING = 503;
const ASK_TIMEOUT: Milliseconds = 5 * SECOND;

export interface ReadinessQuestion {
  readonly origin: string;
  readonly pathPrefix: string;
  readonly healthPath: string | null;
  readonly listsModels: boolean;
  readonly servedName: string;
  readonly headers: Readonly<Record<string, string>>;
}

export type ReadinessAnswer =
  | { readonly kind: 'ready' }
  /** Refused, 503, no answer: still loading. `odd`: it answered something that loading engines do not. */
  | { readonly kind: 'loading'; readonly detail: string; readonly odd: boolean }
  /** Something answers there that is not our engine. */
  | { readonly kind: 'stranger'; readonly detail: string };

export async function askReady(
  http: HttpClient,
  question: ReadinessQuestion,
  signal?: AbortSignal,
  timeout = ASK_TIMEOUT,
): Promise<ReadinessAnswer> {
  const base = question.origin + question.pathPrefix;
  const options = { timeout, headers: question.headers, ...(signal ? { signal } : {}) };
  try {
    const health = await http.get(base + (question.healthPath ?? '/'), options);
    if (question.healthPath !== null && health.status !== 200)
      return loading(`${question.healthPath} answers ${health.status}`, health.status !== LOADING);
    if (!question.listsModels) return { kind: 'ready' };
    const models = await http.get(`${base}/v1/models`, options);
    if (models.status === 401 || models.status === 403)
      return { kind: 'stranger', detail: 'it does not accept our engine key' };
    if (models.status !== 200) return loading(`/v1/models answers ${models.status}`, models.status !== LOADING);
    return lists(models.body, question.servedName)
      ? { kind: 'ready' }
      : { kind: 'stranger', detail: `it does not list the model '${question.servedName}'` };
  } catch (error) {
    return loading(error instanceof Error ? error.message : String(error), false);
  }
}

const loading = (detail: string, odd: boolean): ReadinessAnswer => ({ kind: 'loading', detail, odd });

function lists(body: string, name: string): boolean {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== 'object' || parsed === null || !('data' in parsed) || !Array.isArray(parsed.data))
      return false;
    return parsed.data.some(
      (card: unknown) => typeof card === 'object' && card !== null && 'id' in card && card.id === name,
    );
  } catch {
    return false;
  }
}

/**
 * Asks until it is ready or a stranger; rejects with the signal's reason when aborted. Deadlines are the core's. `odd`: told
 * of each answer, once in a row, that is neither ready nor what loading engines say.
 */
export async function untilReady(
  platform: { readonly http: HttpClient; readonly clock: Clock },
  question: ReadinessQuestion,
  signal: AbortSignal,
  odd: (detail: string) => void,
): Promise<Extract<ReadinessAnswer, { kind: 'ready' | 'stranger' }>> {
  const began = platform.clock.monotonic();
  let told: string | null = null;
  for (;;) {
    signal.throwIfAborted();
    const answer = await askReady(platform.http, question, signal);
    signal.throwIfAborted();
    if (answer.kind !== 'loading') return answer;
    if (answer.odd && answer.detail !== told) odd(answer.detail);
    told = answer.odd ? answer.detail : null;
    const pause = platform.clock.monotonic() - began < POLL_SWITCH ? POLL_FIRST : POLL_LATER;
    await platform.clock.sleep(pause, signal);
  }
}
