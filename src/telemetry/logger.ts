/** Structured log lines: pino, written asynchronously, with secrets taken out before they are serialised. */
import pino from 'pino';
import { isoTimes } from './iso-time.ts';
import { openLogOutput, type LogOutput } from './log-output.ts';
import { prettyLine } from './pretty.ts';
import { Redactor } from './redact.ts';
import type { Logger } from './telemetry.ts';
import type { Clock } from '../platform/platform.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevelName = (typeof LOG_LEVELS)[number];

export type { LogOutput } from './log-output.ts';

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
  /** A line of another process of the gateway: JSON, with its end, checked and made safe there. */
  writeWhole(line: string): void;
  /** Takes secrets out of a text that comes from outside. */
  readonly safe: (text: string) => string;
  /** Writes out what is still buffered, synchronously: for the exit of the process. */
  flush(): void;
}

export function createLogger(options: LoggerOptions): RootLogger {
  const destination = openLogOutput(options.output, options.clock, (lines) =>
    root.warn({ dropped_lines: lines }, 'nobody read the log for a while: lines of it are lost'),
  );
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
  const { clock } = options;
  const iso = isoTimes();
  const time = clock === undefined ? pino.stdTimeFunctions.isoTime : () => `,"time":"${iso(clock.wall())}"`;
  return {
    log: bindLogger(root, redactor, {}),
    safe: (text) => redactor.text(text),
    writeLine: (level, fields, message) => {
      if (!root.isLevelEnabled(level)) return;
      stream.write(`{"level":"${level}"${time()},${fields},"msg":"${message}"}\n`);
    },
    writeWhole: (line) => void stream.write(line),
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
