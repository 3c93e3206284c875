/** Replays a case of the corpus in every way its bytes may be cut, and holds the gateway to all it promises. */
import { expect } from 'vitest';
import { codeOf, MODELS, type Bench, type Model } from './bench.ts';
import { fieldOf, talk, type Answer } from './client.ts';
import { digestOf } from './recorder.ts';
import type { StrictRequest } from './strict-request.ts';
import { readUnambiguous, shown } from './unambiguous.ts';
import { BODY } from './write-bytes.ts';

export type Bytes = string | Buffer | ((model: Model) => string | Buffer);

/** What happens to the connection: the next request on it is answered, or it is ended. */
export type Fate = 'stays' | 'closes';

interface Common {
  readonly title: string;
  /** Text is UTF-8. `near` in it becomes the model's name. */
  readonly bytes: Bytes;
  readonly fate: Fate;
}

/** Nothing of it reaches an engine. `status` 0: no answer, the connection is closed; `code` '' where the answer has none. */
export interface Refused extends Common {
  readonly kind: 'refused';
  readonly status: number;
  readonly code: string;
  /** Of the answer; null = must be absent. */
  readonly fields: Readonly<Record<string, string | null>>;
}

/** Exactly one request reaches the engine, with this body, and the client gets that request's answer. */
export interface Accepted extends Common {
  readonly kind: 'accepted';
  readonly body: Bytes;
  readonly check: (forwarded: StrictRequest, answer: Answer) => void;
}

/** Answered by the gateway itself; no engine hears of it. */
export interface Answered extends Common {
  readonly kind: 'answered';
  readonly status: number;
}

export type Case = Refused | Accepted | Answered;

export function refuses(
  title: string,
  bytes: Bytes,
  status: number,
  code: string,
  more: Partial<Pick<Refused, 'fate' | 'fields'>> = {},
): Refused {
  return { kind: 'refused', title, bytes, status, code, fate: 'closes', fields: {}, ...more };
}

export function accepts(
  title: string,
  bytes: Bytes,
  more: Partial<Pick<Accepted, 'fate' | 'body' | 'check'>> = {},
): Accepted {
  return { kind: 'accepted', title, bytes, body: BODY, fate: 'stays', check: () => undefined, ...more };
}

export function answers(title: string, bytes: Bytes, status = 200, fate: Fate = 'stays'): Answered {
  return { kind: 'answered', title, bytes, status, fate };
}

/** `every`: whole, byte by byte, and in two at every point (at many of a long one). `some`: at a few. */
export type Cutting = 'every' | 'some' | 'whole';

/** How a request is read does not depend on whose model it names: for the second, what it is sent matters. */
const FEWER: Readonly<Record<Cutting, Cutting>> = { every: 'some', some: 'whole', whole: 'whole' };
const ONE_MODEL: readonly Model[] = ['near'];
const POINTS: Readonly<Record<Exclude<Cutting, 'whole'>, number>> = { every: 260, some: 2 };
const POINTS_OF_LONG = 24;
const BYTE_BY_BYTE = 1_000;
const AT_ONCE = 24;
/** Everything is counted after so many. */
const RUNS_PER_COUNT = 500;

export function cuts(bytes: Buffer, cutting: Cutting): readonly (readonly Buffer[])[] {
  const { length } = bytes;
  const variants: Buffer[][] = [[bytes]];
  if (cutting === 'whole') return variants;
  const points = length > POINTS.every ? Math.min(POINTS_OF_LONG, POINTS[cutting]) : POINTS[cutting];
  const step = Math.max(1, Math.ceil(length / points));
  for (let at = step; at < length; at += step) variants.push([bytes.subarray(0, at), bytes.subarray(at)]);
  if (length <= BYTE_BY_BYTE) variants.push(Array.from(bytes, (_, index) => bytes.subarray(index, index + 1)));
  return variants;
}

interface Run {
  readonly row: Case;
  readonly pieces: readonly Buffer[];
  readonly model: Model;
}

/** Rejects when any promise is broken. */
export function replay(bench: Bench, row: Case, cutting: Cutting = 'some'): Promise<void> {
  return replayTogether(bench, [row], cutting);
}

/** Many at once, over as many connections. */
export async function replayTogether(bench: Bench, rows: readonly Case[], cutting: Cutting = 'some'): Promise<void> {
  const runs = rows.flatMap((row) =>
    (row.kind === 'accepted' ? MODELS : ONE_MODEL).flatMap((model) =>
      cuts(named(row.bytes, model), model === 'near' ? cutting : FEWER[cutting]).map((pieces): Run => ({
        row,
        pieces,
        model,
      })),
    ),
  );
  // A case that failed must not make the next one fail.
  bench.recorder.take();
  bench.takeLines();
  for (let at = 0; at < runs.length; at += RUNS_PER_COUNT) await replayAll(bench, runs.slice(at, at + RUNS_PER_COUNT));
}

async function replayAll(bench: Bench, runs: readonly Run[]): Promise<void> {
  let answered = 0;
  let probes = 0;
  for (let at = 0; at < runs.length; at += AT_ONCE) {
    const batch = await Promise.allSettled(runs.slice(at, at + AT_ONCE).map((run) => replayOnce(bench, run)));
    for (const told of batch) {
      if (told.status === 'rejected') throw told.reason;
      answered += told.value.answered;
      probes += told.value.probes;
    }
  }
  const own = runs.filter(({ row }) => row.kind === 'accepted');
  const { requests, lines } = await bench.settle({ upstream: own.length + probes, lines: answered + probes });
  // Text of a client never becomes a label.
  for (const { model } of lines) expect(['near', 'afar', 'org/pair', 'unknown']).toContain(model);
  const told = (rows: readonly (readonly unknown[])[]): string[] => rows.map((row) => row.join(' ')).sort();
  const refusals = runs.flatMap(({ row }) => (row.kind === 'refused' && row.status > 0 ? [row] : []));
  expect(
    told(lines.filter(({ code }) => code !== undefined).map((line) => [line.status, line.outcome, line.code])),
  ).toEqual(told(refusals.map(({ status, code }) => [status, 'rejected', code])));
  const bodies = requests.flatMap(({ raw }) =>
    raw.includes('"nonce":"good-') ? [] : [shown(readUnambiguous(raw).body)],
  );
  expect(bodies.sort()).toEqual(
    own.flatMap(({ row, model }) => (row.kind === 'accepted' ? [shown(named(row.body, model))] : [])).sort(),
  );
}

function named(bytes: Bytes, model: Model): Buffer {
  if (typeof bytes === 'function') return Buffer.from(bytes(model));
  const given = Buffer.from(bytes);
  return model === 'near' ? given : Buffer.from(given.toString('latin1').replaceAll('near', model), 'latin1');
}

async function replayOnce(
  bench: Bench,
  { row, pieces, model }: Run,
): Promise<{ readonly answered: number; readonly probes: number }> {
  const good = bench.goodRequest();
  const wanted = row.kind === 'refused' && row.status === 0 ? 0 : 1;
  let probed = false;
  const {
    answers: all,
    rest,
    end,
  } = await talk({
    port: bench.port,
    pieces,
    next: (soFar) => {
      const finals = soFar.filter(({ status }) => status >= 200).length;
      if (row.fate === 'closes' || finals < wanted) return 'wait';
      if (probed) return finals > wanted ? 'enough' : 'wait';
      probed = true;
      return good.bytes;
    },
  });
  const finals = all.filter(({ status }) => status >= 200);
  const how = `${row.title} cut as ${pieces.map(({ length }) => length).join('+')}`;
  expect([rest.length, end], how).toEqual([0, row.fate === 'closes' ? 'closed' : 'open']);
  expect(finals.length, how).toBe(wanted + (probed ? 1 : 0));
  if (probed) expect(good.isAnswer(finals[wanted] as Answer), how).toBe(true);
  const [answer] = finals;
  if (wanted === 1 && answer !== undefined) expectAnswer(row, answer, how, model, bench);
  return { answered: wanted, probes: probed ? 1 : 0 };
}

function expectAnswer(row: Case, answer: Answer, how: string, model: Model, bench: Bench): void {
  const told = `${how}: ${answer.body.toString()}`;
  if (row.fate === 'closes') expect(fieldOf(answer, 'connection'), told).toBe('close');
  if (row.kind === 'answered') {
    expect(answer.status, told).toBe(row.status);
  } else if (row.kind === 'refused') {
    expect([answer.status, codeOf(answer)], told).toEqual([row.status, row.code]);
    for (const [name, value] of Object.entries(row.fields)) expect(fieldOf(answer, name) ?? null, told).toBe(value);
  } else {
    const body = named(row.body, model);
    expect([answer.status, answer.body.toString()], told).toEqual([200, expect.stringContaining(digestOf(body))]);
    const forwarded = readUnambiguous(bench.recorder.find(fieldOf(answer, 'x-request-id') ?? ''));
    expect(shown(forwarded.body), told).toBe(shown(body));
    row.check(forwarded, answer);
  }
}
