import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../fixtures/vllm/', import.meta.url));

/** One row of the index of recorded answers. */
export interface RecordedRow {
  /** File name without `.http`. */
  readonly name: string;
  readonly section: string;
  readonly method: string;
  readonly path: string;
  /** Request headers named in the row. */
  readonly headers: readonly (readonly [string, string])[];
  /** As shown; undefined when the request had none. */
  readonly body: string | undefined;
  /** The index shows only the beginning of the body. */
  readonly truncated: boolean;
  readonly status: number;
}

export interface RecordedAnswer {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
}

const ROW = /^\| `(\S+)(?: ([^`]*))?`(?: \(([^|]*)\))? \| (?:`` ?(.*?) ?`` )? ?\| (\d{3}) \| \[([\w.-]+)\.http\]/;

/** Every row of the index that names a recorded answer, in order. */
export function recordedRows(): RecordedRow[] {
  const rows: RecordedRow[] = [];
  let section = '';
  for (const line of readFileSync(`${FOLDER}index.md`, 'utf8').split('\n')) {
    if (line.startsWith('## ')) section = line.slice(3);
    if (!line.includes('.http](')) continue;
    const match = ROW.exec(line);
    if (match === null) throw new Error(`unreadable row of the index: ${line.slice(0, 120)}`);
    const [, method = '', path = '', headers = '', shown, status = '0', name = ''] = match;
    rows.push({
      name,
      section,
      method,
      path,
      headers: headers
        .split('; ')
        .filter((item) => item !== '')
        .map((item) => [item.slice(0, item.indexOf(': ')), item.slice(item.indexOf(': ') + 2)] as const),
      body: shown,
      truncated: shown !== undefined && / … \(\d+ bytes\)$/.test(shown),
      status: Number(status),
    });
  }
  return rows;
}

export function recordedAnswer(name: string): RecordedAnswer {
  const data = readFileSync(`${FOLDER}${name}.http`);
  const text = data.toString('latin1');
  const separator = text.includes('\r\n\r\n') ? '\r\n\r\n' : '\n\n';
  const at = data.indexOf(separator);
  const [first = '', ...lines] = text.slice(0, at).split(/\r?\n/);
  return {
    status: Number(first.split(' ')[1] ?? '0'),
    headers: lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    }),
    body: data.subarray(at + separator.length),
  };
}

/** One event of a stream: its name and its data. */
export interface StreamEvent {
  readonly event: string | undefined;
  readonly data: string;
}

export function streamEvents(body: Buffer): StreamEvent[] {
  return body
    .toString('utf8')
    .replaceAll('\r\n', '\n')
    .split('\n\n')
    .filter((block) => block.trim() !== '')
    .map((block) => {
      const lines = block.split('\n');
      const field = (name: string): string | undefined =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      return { event: field('event'), data: field('data') ?? '' };
    });
}

/**
 * Keys and types of a JSON value as text, without the values. Elements of a list count once per shape, and what is
 * empty in one element may be filled in another; maps from tokens to numbers count by their values.
 */
export function shapeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) {
    const shapes = [...new Set(value.map(shapeOf))];
    const filled = shapes.filter((shape) => !shapes.some((other) => other !== shape && isEmptied(shape, other)));
    return filled.length === 0 ? '[]' : `[${filled.sort().join('|')}]`;
  }
  if (typeof value === 'object') {
    const entries = Object.entries(value);
    const isTokenMap = entries.length > 0 && entries.every(([, field]) => typeof field === 'number' && field < 0);
    if (isTokenMap) return '{token:number}';
    return `{${entries.map(([key, field]) => `${key}:${shapeOf(field)}`).join(',')}}`;
  }
  return typeof value;
}

/** Whether `shape` is `other` with some list left empty. */
function isEmptied(shape: string, other: string): boolean {
  return shape === other.replaceAll('[number]', '[]');
}
