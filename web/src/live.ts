/** The one stream that keeps the page up to date. It comes back after a break, and after a change of the key. */
import type { ActivityEvent, DecisionEvent, StatusAnswer, ViewerEvent } from '../../src/admin/contract.ts';
import { ask, Refusal } from './api.ts';
import { framesOf, type Frame } from './sse.ts';
import { addActivity, addDecision, addStatus, change } from './store.ts';

const PATH = '/gateway/events?snapshots=1';
/** A stream that is silent for so long is dead, whatever the network says: a snapshot is due every second. */
const SILENCE_MS = 8_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;

let current: AbortController | null = null;

/** Begins, or begins anew at once. */
export function startLive(): void {
  current?.abort();
  const run = new AbortController();
  current = run;
  void follow(run.signal);
}

async function follow(signal: AbortSignal): Promise<void> {
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      await listen(signal, () => {
        attempt = 0;
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && error.status < 500) {
        const { status, message } = error;
        change({ connection: { kind: 'refused', status, message }, status: null });
        return;
      }
    }
    if (signal.aborted) return;
    change({ connection: { kind: 'reconnecting', attempt } });
    await pause(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempt) * (0.5 + Math.random() / 2), signal);
  }
}

/** Half to a whole of the time, so that many open pages do not come back at one moment. */
function pause(delay: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, delay);
    const now = (): void => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener('abort', now, { once: true });
  });
}

async function listen(signal: AbortSignal, connected: () => void): Promise<void> {
  const attempt = new AbortController();
  const stop = (): void => attempt.abort();
  signal.addEventListener('abort', stop, { once: true });
  let watch = setTimeout(stop, SILENCE_MS);
  const heard = (): void => {
    clearTimeout(watch);
    watch = setTimeout(stop, SILENCE_MS);
  };
  try {
    // What was decided before the page was opened, too.
    const response = await ask(PATH, { signal: attempt.signal, headers: { 'last-event-id': '0' } });
    if (!response.body) return;
    for await (const frame of framesOf(response.body, heard)) {
      if (signal.aborted) return;
      connected();
      take(frame);
    }
  } finally {
    clearTimeout(watch);
    signal.removeEventListener('abort', stop);
  }
}

function take({ event, data }: Frame): void {
  if (event === 'snapshot') {
    addStatus(JSON.parse(data) as StatusAnswer);
    change({ connection: { kind: 'live' } });
  } else if (event === 'decision') addDecision(JSON.parse(data) as DecisionEvent);
  else if (event === 'activity') addActivity(JSON.parse(data) as ActivityEvent);
  else if (event === 'viewer') change({ viewer: JSON.parse(data) as ViewerEvent });
}
