import { expect } from 'vitest';
import type { RawAnswer } from '../support/raw-http.ts';
import { type RecordedAnswer, type RecordedRow, shapeOf, streamEvents } from '../support/recorded.ts';

type Headers = readonly (readonly [string, string])[];

/**
 * Equal status, header names in order, values that do not vary, body: errors byte for byte, JSON by keys and types,
 * streams by the kinds of their events with one HTTP chunk per event.
 */
export function compareAnswers(row: RecordedRow, ours: RawAnswer, recorded: RecordedAnswer): void {
  expect(ours.status).toBe(row.status);
  expect(ours.headers.map(([name]) => name)).toEqual(recorded.headers.map(([name]) => name));
  expect(fixed(ours.headers)).toEqual(fixed(recorded.headers));
  compareBodies(row, ours, recorded);
}

/** Header values that do not vary from run to run. */
function fixed(headers: Headers): Record<string, string> {
  const varying = new Set(['date', 'content-length', 'x-request-id', 'location', 'endpoint-load-metrics']);
  return Object.fromEntries(headers.filter(([name]) => !varying.has(name)));
}

/** What of a stream must be equal: the kinds of events in order of first appearance, and the last one. */
function framing(body: Buffer): { kinds: string[]; last: string } {
  const events = streamEvents(body);
  const kind = (event: string | undefined, data: string): string =>
    // A token without text has no bytes.
    `${event ?? '-'} ${data === '[DONE]' ? data : shapeOf(JSON.parse(data)).replaceAll('bytes:[]', 'bytes:[number]')}`;
  const kinds = new Set(events.map(({ event, data }) => kind(event, data)));
  const last = events.at(-1);
  return { kinds: [...kinds], last: last === undefined ? '' : kind(last.event, last.data) };
}

/** Families and label names of a metrics page, for the names this engine is judged by. */
function families(body: Buffer): string[] {
  const found = new Set<string>();
  for (const line of body.toString('utf8').split('\n')) {
    const type = /^# TYPE ((?:vllm:|http_)\S+) (\S+)$/.exec(line);
    if (type !== null) found.add(`${type[1] ?? ''} ${type[2] ?? ''}`);
    const sample = /^(vllm:[\w:]+)\{(.*)\} /.exec(line);
    if (sample === null) continue;
    const labels = [...(sample[2] ?? '').matchAll(/(\w+)="[^"]*"/g)].map((match) => match[1]);
    found.add(`${sample[1] ?? ''}{${labels.join(',')}}`);
  }
  return [...found].sort();
}

function compareBodies(row: RecordedRow, ours: RawAnswer, recorded: RecordedAnswer): void {
  const type = recorded.headers.find(([name]) => name === 'content-type')?.[1] ?? '';
  if (type.startsWith('text/event-stream')) {
    expect(framing(ours.body)).toEqual(framing(recorded.body));
    for (const chunk of ours.chunks) expect(streamEvents(chunk)).toHaveLength(1);
    expect(ours.end).toBe('whole');
  } else if (row.path === '/metrics') expect(families(ours.body)).toEqual(families(recorded.body));
  else if (row.path === '/openapi.json') {
    expect(Object.keys(JSON.parse(ours.body.toString()) as object)).toEqual(
      Object.keys(JSON.parse(recorded.body.toString()) as object),
    );
  } else if (row.method === 'HEAD') expect(ours.body.toString()).toBe('');
  else if (recorded.status >= 400 || !type.startsWith('application/json')) {
    expect(ours.body.toString()).toBe(recorded.body.toString().trimEnd());
  } else expect(shapeOf(JSON.parse(ours.body.toString()))).toEqual(shapeOf(JSON.parse(recorded.body.toString())));
}
