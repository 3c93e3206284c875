import type { App } from './app.ts';
import { scaled, sleepFor } from './app.ts';
import { crash, engineDied, leaderVanishes } from './death.ts';
import { EngineDeadError, type Job, type Pace, type Plan, type SequenceListener } from './engine.ts';
import { engineBusy, engineDead, type RequestError, shuttingDown } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { Prompt } from './render.ts';

export interface Generation {
  readonly id: string;
  readonly prompt: Prompt;
  readonly maxTokens: number;
  readonly plans: readonly Plan[];
  readonly pace: Pace;
  readonly listener: SequenceListener;
}

/** A request in the engine. */
export interface Running {
  readonly cachedTokens: number;
  abort(): void;
}

/**
 * First look at a generate request, before its headers: refused when the engine is stopping, dead or, with
 * `--max-num-queued-reqs`, busy.
 */
export async function admit(x: Exchange, sequences: number): Promise<void> {
  const { app } = x;
  app.stats.inference(x.req.socket);
  const slow = x.faults.number('slow_headers', 5000);
  if (slow !== undefined) await sleepFor(scaled(app, slow));
  if (app.state !== 'ready' || x.faults.has('engine_dead_500')) {
    // Raised outside the CORS layer in the real server.
    x.vary = false;
    throw shuttingDown();
  }
  if (app.engine.dead) throw engineDead();
  if (!hasRoom(app, sequences)) throw busy(app);
}

/** Second look, when headers of a stream are already out: the answer is an error as first frame. */
export async function enqueue(x: Exchange, generation: Generation): Promise<Running> {
  const { app } = x;
  if (app.options.maxQueuedRequests !== undefined) {
    // In the real server prompts are tokenized here, which is why a burst passes the first look together.
    await sleepFor(2);
    if (!hasRoom(app, generation.plans.length)) throw busy(app);
  }
  const failure = firstFrameError(x);
  if (failure !== undefined) throw failure;
  return submit(x, generation);
}

function firstFrameError(x: Exchange): RequestError | undefined {
  if (!x.faults.has('error_first_frame')) return undefined;
  return x.faults.text('error_first_frame') === '500' ? engineDead() : engineBusy();
}

function submit(x: Exchange, generation: Generation): Running {
  const { app } = x;
  app.taken += 1;
  const tokens = generation.prompt.tokens.length;
  const cached =
    app.options.given.get('enable-prefix-caching') === false ? 0 : app.engine.lookUp(generation.prompt.text, tokens);
  const listener = doomed(x, generation.listener);
  const job: Job = {
    id: generation.id,
    promptTokens: tokens,
    maxTokens: generation.maxTokens,
    plans: generation.plans,
    pace: generation.pace,
    listener,
  };
  const abort = (): void => app.engine.abort(job);
  x.onAbort = abort;
  if (x.res.destroyed) return { cachedTokens: cached, abort };
  app.engine.submit(job, cached);
  const hangAfter = app.faults.number('hang_after', 0);
  if (hangAfter !== undefined && app.taken > hangAfter) app.engine.freeze();
  return { cachedTokens: cached, abort };
}

/** The process-wide faults that strike in the middle of the request after the N-th. */
function doomed(x: Exchange, listener: SequenceListener): SequenceListener {
  const { app } = x;
  const due = (name: string): boolean => {
    const after = app.faults.number(name, 0);
    return after !== undefined && app.taken > after;
  };
  let strike: (() => void) | undefined;
  if (due('crash_after') || x.faults.has('crash')) strike = () => crash(app, 1);
  else if (due('exit0_after') || x.faults.has('exit0')) strike = () => engineDied(app);
  else if (due('half_dead')) strike = () => leaderVanishes(app);
  if (strike === undefined) return listener;
  const now = strike;
  return {
    token: (index, piece, position) => {
      listener.token(index, piece, position);
      // Lets the token reach the client first.
      if (position === 1) setImmediate(now);
    },
    finished: (index, reason) => {
      listener.finished(index, reason);
      setImmediate(now);
    },
    failed: (error) => listener.failed(error),
  };
}

function hasRoom(app: App, sequences: number): boolean {
  const limit = app.options.maxQueuedRequests;
  return limit === undefined || app.engine.runningCount + app.engine.waitingCount + sequences <= limit;
}

function busy(app: App): RequestError {
  app.metrics.rejected('max_num_queued_reqs');
  return engineBusy();
}

/** What a failed job looks like to its client. */
export function failureOf(error: Error): RequestError {
  return error instanceof EngineDeadError ? engineDead() : shuttingDown();
}

/** Endless response headers: one more every 100 ms, never the empty line. */
export function endlessHeaders(x: Exchange): void {
  const { socket } = x.res;
  if (socket === null) return;
  socket.write('HTTP/1.1 200 OK\r\nserver: uvicorn\r\n');
  let count = 0;
  const timer = setInterval(() => {
    count += 1;
    if (socket.destroyed) clearInterval(timer);
    else socket.write(`x-pad-${count}: ${'.'.repeat(32)}\r\n`);
  }, 100);
  socket.once('close', () => clearInterval(timer));
}
