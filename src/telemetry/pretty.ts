/** Log lines for people: one line each, colour by level, fields after the message. */
type Colour = 'red' | 'yellow' | 'green' | 'cyan' | 'grey' | 'bold';

const CODES: Readonly<Record<Colour, readonly [number, number]>> = {
  red: [31, 39],
  yellow: [33, 39],
  green: [32, 39],
  cyan: [36, 39],
  grey: [90, 39],
  bold: [1, 22],
};

const LEVEL_COLOURS: Readonly<Record<string, Colour>> = {
  error: 'red',
  warn: 'yellow',
  info: 'green',
  debug: 'cyan',
  trace: 'grey',
};

/** Fields that the line shows elsewhere or not at all. */
const SHOWN_ELSEWHERE: ReadonlySet<string> = new Set(['level', 'time', 'msg']);
const SHOWN_BY_DECISION: ReadonlySet<string> = new Set([...SHOWN_ELSEWHERE, 'event', 'model', 'replica']);
/** What an access line says in its message, or what the time at its start already says. */
const SHOWN_BY_REQUEST: ReadonlySet<string> = new Set([
  ...SHOWN_ELSEWHERE,
  ...['method', 'route', 'model', 'stream', 'status', 'duration_ms', 'started_at', 'replica', 'bytes_in', 'bytes_out'],
]);
/** What most access lines would say: left out, so that the others catch the eye. */
const USUAL: Readonly<Record<string, unknown>> = {
  outcome: 'completed',
  key: 'anonymous',
  attempts: 1,
  queue_ms: 0,
  cold_start_ms: 0,
};
const EVENT_WIDTH = 'replica.start_failed'.length;
const LEVEL_WIDTH = 'error'.length;
/** Printable without quotes; everything else (spaces, control characters, quotes) is shown as a JSON string. */
const PLAIN = /^[\w.,:;/@%+*()[\]{}<>=~!?#&|$^-]+$/u;

/** Turns one JSON log line into one line of text (more when it carries a stack), newline included. */
export function prettyLine(line: string, colour: boolean): string {
  const paint = (name: Colour, text: string): string =>
    colour ? `\u001b[${CODES[name][0]}m${text}\u001b[${CODES[name][1]}m` : text;
  const fields = parseLine(line);
  if (!fields) return line.endsWith('\n') ? line : `${line}\n`;
  const level = String(fields['level']);
  const time = String(fields['time']).slice(11, 23);
  const head = `${paint('grey', time)} ${paint(LEVEL_COLOURS[level] ?? 'bold', level.toUpperCase().padEnd(LEVEL_WIDTH))} `;
  const { message, hidden, usual } = describe(fields, paint);
  const rest = Object.entries(fields)
    .filter(([name, value]) => !hidden.has(name) && value !== undefined && value !== null && value !== '')
    .filter(([name, value]) => usual[name] !== value)
    .map(([name, value]) => ` ${paint('grey', `${name}=`)}${showValue(value)}`)
    .join('');
  return `${head}${message}${rest}\n${stackOf(fields)}`;
}

interface Description {
  readonly message: string;
  /** Names of fields that the message holds. */
  readonly hidden: ReadonlySet<string>;
  /** Values of fields that are not worth saying. */
  readonly usual: Readonly<Record<string, unknown>>;
}

/** Decisions begin with what they are about, as `vllm-gateway events` shows them; requests are a sentence, not twenty fields. */
function describe(fields: Record<string, unknown>, paint: (name: Colour, text: string) => string): Description {
  const { msg, event, model, replica, method, route, status, stream, duration_ms: duration } = fields;
  if (typeof event === 'string') {
    const about = replica ?? model;
    const subject = about === undefined || about === null ? '' : `${showValue(about)}: `;
    const kind = paint('bold', showMessage(event.padEnd(EVENT_WIDTH)));
    return { message: `${kind} ${subject}${showMessage(String(msg))}`, hidden: SHOWN_BY_DECISION, usual: {} };
  }
  if (msg === 'request' && typeof duration === 'number') {
    const words = [method, route, model === 'unknown' ? '' : model, status].filter((word) => word !== '');
    const message = `${words.map(showValue).join(' ')} in ${duration} ms${stream === true ? ', streamed' : ''}`;
    return { message, hidden: SHOWN_BY_REQUEST, usual: USUAL };
  }
  return { message: showMessage(String(msg ?? '')), hidden: SHOWN_ELSEWHERE, usual: {} };
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    // Not ours (a library wrote it): shown as it is.
    return undefined;
  }
}

function showMessage(text: string): string {
  // A message may quote what a stranger sent: control characters would move the cursor of whoever reads the log.
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/gu, (character) =>
    JSON.stringify(character).slice(1, -1),
  );
}

function showValue(value: unknown): string {
  if (typeof value === 'string') return PLAIN.test(value) ? value : JSON.stringify(value);
  if (isErrorRecord(value)) return JSON.stringify(`${value.type}: ${value.message}`);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function stackOf(fields: Record<string, unknown>): string {
  for (const value of Object.values(fields)) {
    if (!isErrorRecord(value) || typeof value.stack !== 'string') continue;
    const frames = value.stack.split('\n').filter((frame) => frame.trimStart().startsWith('at '));
    return frames.map((frame) => `    ${showMessage(frame.trim())}\n`).join('');
  }
  return '';
}

function isErrorRecord(value: unknown): value is { type: string; message: string; stack?: unknown } {
  return typeof value === 'object' && value !== null && 'type' in value && 'message' in value && 'stack' in value;
}
