/** Structured log lines: pino, written asynchronously, with secrets taken out before they are serialised. */
import pino from 'pino';
import { prettyLine } from './pretty.ts';
import { Redactor } from './redact.ts';
import type { Logger } from './telemetry.ts';
import type { Bytes } from '../units.ts';
import { MIB } from '../units.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevelName = (typeof LOG_LEVELS)[number];

/** Lines that wait because nobody reads the output; beyond this they are dropped, the gateway goes on. */
const MAX_UNWRITTEN: Bytes = 16 * MIB;

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
}

export interface RootLogger {
  readonly log: Logger;
  setLevel(level: LogLevelName): void;
  readonly level: LogLevelName;
  /** Writes out what is still buffered, synchronously: for the exit of the process. */
  flush(): void;
}

interface Destination {
  write(line: string): void;
  flush(): void;
}

export function createLogger(options: LoggerOptions): RootLogger {
  const destination = openDestination(options.output);
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
  return {
    log: bindLogger(root, new Redactor(options.secrets), {}),
    setLevel: (level) => {
      root.level = level;
    },
    get level() {
      return root.level as LogLevelName;
    },
    flush: () => destination.flush(),
  };
}

function openDestination(output: LogOutput): Destination {
  if ('write' in output) return { write: output.write, flush: () => undefined };
  const file = pino.destination({ dest: output.descriptor, sync: false, maxLength: MAX_UNWRITTEN });
  // EPIPE: whoever read our output is gone. Serving goes on; there is nobody left to tell.
  file.on('error', () => undefined);
  return {
    write: (line) => void file.write(line),
    flush: () => {
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
      root[level]({ ...bound, ...redactor.fields(fields) }, redactor.text(message));
    };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => bindLogger(root, redactor, { ...bound, ...redactor.fields(fields) }),
  };
}
