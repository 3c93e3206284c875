/** Replays a case of the corpus in every way its bytes may be cut, and holds the gateway to all it promises. */
import { expect } from 'vitest';
import { codeOf, MODELS, type AccessLine, type Bench, type Model } from './bench.ts';
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

const EVERY_POINT = 260;
const SAMPLED_POINTS = 24;
const BYTE_BY_BYTE = 2_000;
const AT_ONCE = 24;

/** Whole, byte by byte, and cut in two at every point, or at many of a long one. */
export function cuts(bytes: Buffer): readonly (readonly Buffer[])[] {
  const { length } = bytes;
  const step = length <= EVERY_POINT ? 1 : Math.ceil(length / SAMPLED_POINTS);
  const variants: Buffer[][] = [[bytes]];
  for (let at = 1; at < length; at += step) variants.push([bytes.subarray(0, at), bytes.subarray(at)]);
  if (length <= BYTE_BY_BYTE) variants.push(Array.from(bytes, (_, index) => bytes.subarray(index, index + 1)));
  return variants;
}

export type Cutting = 'cut' | 'whole';

/** Rejects when any promise is broken. */
export async function replay(bench: Bench, row: Case, cutting: Cutting = 'cut'): Promise<void> {
  const models = row.kind === 'accepted' ? MODELS : (['near'] as const);
  for (const model of models) await replayFor(bench, row, cutting, model);
}

async function replayFor(bench: Bench, row: Case, cutting: Cutting, model: Model): Promise<void> {
  const bytes = named(row.bytes, model);
  const variants = cutting === 'cut' ? cuts(bytes) : [bytes].map((whole) => [whole]);
  let answered = 0;
  let probes = 0;
  // A case that failed must not make the next one fail.
  bench.recorder.take();
  bench.takeLines();
  for (let at = 0; at < variants.length; at += AT_ONCE) {
    const batch = variants.slice(at, at + AT_ONCE).map(async (pieces) => {
      const told = await replayOnce(bench, row, pieces, model);
      answered += told.answered;
      probes += told.probes;
    });
    for (const told of await Promise.allSettled(batch)) if (told.status === 'rejected') throw told.reason;
  }
  const upstream = row.kind === 'accepted' ? variants.length : 0;
  const { requests, lines } = await bench.settle({ upstream: upstream + probes, lines: answered + probes });
  if (row.kind === 'refused') for (const line of withoutProbes(lines)) expectLine(row, line);
  if (row.kind !== 'accepted') return;
  const body = named(row.body, model);
  const own = requests.filter(({ raw }) => !raw.includes('"nonce":"good-'));
  expect(own.length).toBe(variants.length);
  for (const { raw } of own) expect(shown(readUnambiguous(raw).body)).toBe(shown(body));
}

function withoutProbes(lines: readonly AccessLine[]): readonly AccessLine[] {
  return lines.filter(({ status }) => status !== 200);
}

function expectLine(row: Refused, line: AccessLine): void {
  expect([line.status, line.outcome, line.code]).toEqual([row.status, 'rejected', row.code]);
  // Text of a client never becomes a label.
  expect(['near', 'afar', 'org/pair', 'unknown']).toContain(line.model);
}

function named(bytes: Bytes, model: Model): Buffer {
  if (typeof bytes === 'function') return Buffer.from(bytes(model));
  const given = Buffer.from(bytes);
  return model === 'near' ? given : Buffer.from(given.toString('latin1').replaceAll('near', model), 'latin1');
}

async function replayOnce(
  bench: Bench,
  row: Case,
  pieces: readonly Buffer[],
  model: Model,
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
  const how = `cut as ${pieces.map(({ length }) => length).join('+')}`;
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
