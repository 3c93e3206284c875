/**
 * Ends workers that stand still: stopped, or in a loop that never ends. One has its share of all clients, and each would
 * wait for ever; another one takes its place.
 */
import type { Clock } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { WorkerHandle } from './worker-handle.ts';

const PING_EVERY: Milliseconds = 5 * SECOND;
/** Pings are counted, not time: while the whole machine stands still none is sent, and nobody owes an answer. */
const MOST_UNANSWERED = 3;
/** Until it serves: a program that is read from a slow disk answers nothing meanwhile. */
const MOST_AT_START = 12;

type Watched = Pick<WorkerHandle, 'number' | 'pid' | 'ready' | 'unanswered' | 'ping' | 'kill'>;

export function watchPulses(clock: Pick<Clock, 'after'>, log: Logger, workers: () => readonly Watched[]): Disposable {
  const look = (): void => {
    for (const worker of workers()) {
      if (worker.unanswered < (worker.ready ? MOST_UNANSWERED : MOST_AT_START)) {
        worker.ping();
        continue;
      }
      log.error({ worker: worker.number, pid: worker.pid }, 'a worker of the data plane does not answer: it is ended');
      worker.kill();
    }
    next = clock.after(PING_EVERY, look);
  };
  let next = clock.after(PING_EVERY, look);
  return { [Symbol.dispose]: () => next[Symbol.dispose]() };
}
