/** Structured log lines: pino, written asynchronously, with secrets taken out before they are serialised. */
import pino from 'pino';
import { prettyLine } from './pretty.ts';
import { Redactor } from './redact.ts';
import type { Logger } from './telemetry.ts';
import type { Clock } from '../platform/platform.ts';
import { KIB, MIB, type Bytes, type Milliseconds } from '../units.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevelName = (typeof LOG_LEVELS)[number];

/** Lines that wait because nobody reads the output; beyond this they are dropped, the gateway goes on. */
const MAX_UNWRITTEN: Bytes = 16 * MIB;
/** Lines of one short moment go out in one write: a write per line costs more than all else about it. */
const BATCH_TIME: Milliseconds = 20;
const BATCH_SIZE: Bytes = 32 * KIB;

/** Where lines go: a descriptor of the process, or a function (tests, an embedding program). */
export type LogOutput =
  | { readonly descriptor: number; readonly isTerminal: boolean; readonly colour: boolean }
  | { readonly write: (line: string) => void; readonly isTerminal?: boolean; readonly colour?: boolean };

export interface LoggerOptions {
  readonly level: LogLevelName;
  /** `auto`: pretty on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'pretty' | 'json';
  readonly output: LogOutput;
  /** Values that no line may contain. */
  readonly secrets?: readonly string[];
  /** Without it every line is written at once. */
  readonly clock?: Clock;
}

export interface RootLogger {
  readonly log: Logger;
  setLevel(level: LogLevelName): void;
  /** Values that no line may contain from now on, beside those that were replaced by them. */
  setSecrets(secrets: readonly string[]): void;
  readonly level: LogLevelName;
  /** A line whose fields (the members of a JSON object) are serialised already and hold no secrets. */
  writeLine(level: LogLevelName, fields: string, message: string): void;
  /** Takes secrets out of a text that comes from outside. */
  readonly safe: (text: string) => string;
  /** Writes out what is still buffered, synchronously: for the exit of the process. */
  flush(): void;
}

interface Destination {
  write(line: string): void;
  flush(): void;
}

export function createLogger(options: LoggerOptions): RootLogger {
  const destination = openDestination(options.output, options.clock);
  const pretty = options.format === 'pretty' || (options.format === 'auto' && options.output.isTerminal === true);
  const colour = options.output.colour === true;
  const stream = pretty ? { write: (line: string) => destination.write(prettyLine(line, colour)) } : destination;
  const root = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (value: unknown) => value },
    },
    stream,
  );
  const redactor = new Redactor(options.secrets);
  return {
    log: bindLogger(root, redactor, {}),
    safe: (text) => redactor.text(text),
    writeLine: (level, fields, message) => {
      if (!root.isLevelEnabled(level)) return;
      stream.write(`{"level":"${level}"${pino.stdTimeFunctions.isoTime()},${fields},"msg":"${message}"}\n`);
    },
    setLevel: (level) => {
      root.level = level;
    },
    setSecrets: (secrets) => redactor.replace(secrets),
    get level() {
      return root.level as LogLevelName;
    },
    flush: () => destination.flush(),
  };
}

function openDestination(output: LogOutput, clock: Clock | undefined): Destination {
  if ('write' in output) return { write: output.write, flush: () => undefined };
  const file = pino.destination({ dest: output.descriptor, sync: false, maxLength: MAX_UNWRITTEN });
  // EPIPE: whoever read our output is gone. Serving goes on; there is nobody left to tell.
  file.on('error', () => undefined);
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
      try {
        file.flushSync();
      } catch {
        // Only called at exit, where a closed or blocked output must not change the exit code.
      }
    },
  };
}

function bindLogger(root: pino.Logger, redactor: Redactor, bound: Record<string, unknown>): Logger {
  const at =
    (level: LogLevelName) =>
    (fields: object, message: string): void => {
      if (!root.isLevelEnabled(level)) return;
      root[level](redactor.fields(fields, bound), redactor.text(message));
    };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => bindLogger(root, redactor, redactor.fields(fields, bound)),
  };
}
