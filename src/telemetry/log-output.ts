/** Where log lines go. Whoever reads them may stop reading: that costs lines, never the gateway's time, nor its end. */
import pino from 'pino';
import type { Clock } from '../platform/platform.ts';
import { KIB, MIB, type Bytes, type Milliseconds } from '../units.ts';

/** Lines that wait because nobody reads the output; beyond this they are dropped, the gateway goes on. */
const MAX_UNWRITTEN: Bytes = 16 * MIB;
/** Lines of one short moment go out in one write: a write per line costs more than all else about it. */
const BATCH_TIME: Milliseconds = 20;
const BATCH_SIZE: Bytes = 32 * KIB;
/** An output that takes nothing is tried so often at the end, a tenth of a second each time. */
const LAST_TRIES = 5;

/** A descriptor of the process, or a function (tests, an embedding program). */
export type LogOutput =
  | { readonly descriptor: number; readonly isTerminal: boolean; readonly colour: boolean }
  | { readonly write: (line: string) => void; readonly isTerminal?: boolean; readonly colour?: boolean };

export interface LogDestination {
  write(line: string): void;
  /** Synchronously, as far as the output takes it. */
  flush(): void;
}

/**
 * Without a clock every line is written at once. `recovered` is told when lines are taken again, and how many were lost
 * before that.
 */
export function openLogOutput(
  output: LogOutput,
  clock: Clock | undefined,
  recovered: (lost: number) => void,
): LogDestination {
  if ('write' in output) return { write: output.write, flush: () => undefined };
  let lastTries = Number.POSITIVE_INFINITY;
  const retryEAGAIN = (): boolean => --lastTries > 0;
  const file = pino.destination({ dest: output.descriptor, sync: false, maxLength: MAX_UNWRITTEN, retryEAGAIN });
  // EPIPE: whoever read our output is gone. Serving goes on; there is nobody left to tell.
  file.on('error', () => undefined);
  const flushSync = file.flushSync.bind(file);
  // Pino calls it too when the process ends.
  file.flushSync = (): void => {
    lastTries = Math.min(lastTries, LAST_TRIES);
    try {
      flushSync();
      lastTries = Number.POSITIVE_INFINITY;
    } catch {
      // At exit a closed or blocked output must not change the exit code. What it did not take is tried with the next line.
    }
  };
  let lost = 0;
  file.on('drop', (lines) => {
    lost += lines.split('\n').length - 1;
  });
  file.on('drain', () => {
    lastTries = Number.POSITIVE_INFINITY;
    if (lost === 0) return;
    const count = lost;
    lost = 0;
    recovered(count);
  });
  let batch = '';
  let due: Disposable | null = null;
  const send = (): void => {
    due?.[Symbol.dispose]();
    due = null;
    if (batch === '') return;
    const lines = batch;
    batch = '';
    file.write(lines);
  };
  return {
    write: (line) => {
      batch += line;
      // Somebody watches a terminal.
      if (clock === undefined || output.isTerminal || batch.length >= BATCH_SIZE) send();
      else due ??= clock.after(BATCH_TIME, send);
    },
    flush: () => {
      send();
      file.flushSync();
    },
  };
}
