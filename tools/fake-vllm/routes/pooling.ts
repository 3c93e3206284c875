import { shortId } from '../app.ts';
import { canonicalModel } from '../answer.ts';
import { isObject, type Json, optionalInt, readJson } from '../body.ts';
import { badRequest, missingField } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import type { Task } from '../options.ts';
import { checkLength, type Prompt, readMessages, renderChat } from '../render.ts';
import { paceOf, readSampling } from '../sampling.ts';
import { hash, nonceOf, vectorOf } from '../text.ts';
import { asRequestError } from './request-parts.ts';
import { fromIds, fromText } from './completions.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

const DIMENSIONS = 64;

/** Routes of models that do not generate: which ones depends on the task. */
export function poolingRoutes(task: Task): Route[] {
  const routes = [route('POST', '/pooling', pooling)];
  if (task === 'embed') routes.push(route('POST', '/v1/embeddings', embeddings));
  if (task === 'classify') routes.push(route('POST', '/classify', classify));
  if (task === 'embed' || task === 'score') {
    for (const path of ['/score', '/v1/score']) routes.push(route('POST', path, score));
    for (const path of ['/rerank', '/v1/rerank', '/v2/rerank']) routes.push(route('POST', path, rerank));
  }
  return routes;
}

/** Text, several texts, token ids, several lists of them, or a conversation. */
function readInputs(body: Json, model: string): Prompt[] {
  if (body['messages'] !== undefined) return [renderChat(readMessages(body), [], model, true)];
  const input = body['input'];
  if (input === undefined || input === null) throw missingField('input', body);
  if (typeof input === 'string') return [fromText(input)];
  if (!Array.isArray(input)) throw badRequest('input must be a string, a list of strings or token ids', 'input');
  if (input.length > 0 && input.every((item) => typeof item === 'number')) return [fromIds(input)];
  return input.map((item) => (Array.isArray(item) ? fromIds(item.map(Number)) : fromText(String(item))));
}

/** Runs the prompts through the engine, no token comes out; then `done` makes the answer. */
async function run(x: Exchange, body: Json, prompts: readonly Prompt[], done: () => void): Promise<void> {
  const [first] = prompts;
  if (first === undefined) throw badRequest('input must not be empty', 'input');
  for (const prompt of prompts) checkLength(prompt, x.app.options.maxModelLen);
  await admit(x, prompts.length);
  if (x.faults.has('never_ending_headers')) {
    endlessHeaders(x);
    return;
  }
  let left = prompts.length;
  const listener = {
    token: (): void => undefined,
    finished: (): void => {
      left -= 1;
      if (left === 0) done();
    },
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  const sampling = readSampling(x, { fake: body['fake'] }, first, ['max_tokens']);
  const plans = prompts.map((prompt) => ({ pieces: [], reason: 'stop' as const, promptTokens: prompt.tokens.length }));
  await enqueue(x, { id: shortId(), prompt: first, maxTokens: 1, plans, pace: paceOf(x, sampling), listener }).catch(
    (error: Error) => {
      if (!x.gone) x.error(asRequestError(error));
    },
  );
}

function usage(prompts: readonly Prompt[]): Json {
  const tokens = prompts.reduce((sum, prompt) => sum + prompt.tokens.length, 0);
  return { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null };
}

function envelope(kind: string, model: string, data: readonly Json[], prompts: readonly Prompt[]): Json {
  const created = Math.floor(Date.now() / 1000);
  return { id: `${kind}-${shortId()}`, object: 'list', created, model, data, usage: usage(prompts) };
}

async function embeddings(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const model = canonicalModel(x, body);
  const prompts = readInputs(body, model);
  const dimensions = optionalInt(body, 'dimensions') ?? DIMENSIONS;
  const data = prompts.map((prompt, index) => {
    const vector = vectorOf(prompt.text, dimensions);
    const embedding =
      body['encoding_format'] === 'base64' ? Buffer.from(new Float32Array(vector).buffer).toString('base64') : vector;
    return { index, object: 'embedding', embedding };
  });
  await run(x, body, prompts, () => x.json(200, envelope('embd', model, data, prompts)));
}

async function pooling(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const model = canonicalModel(x, body);
  const prompts = readInputs(body, model);
  const data = prompts.map((prompt, index) => ({ index, object: 'pooling', data: vectorOf(prompt.text, DIMENSIONS) }));
  await run(x, body, prompts, () => x.json(200, envelope('pool', model, data, prompts)));
}

async function classify(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const model = canonicalModel(x, body);
  const prompts = readInputs(body, model);
  const data = prompts.map((prompt, index) => {
    const first = (hash(prompt.text) % 1000) / 1000;
    const label = first >= 0.5 ? 'LABEL_0' : 'LABEL_1';
    return { index, label, probs: [first, 1 - first], num_classes: 2 };
  });
  await run(x, body, prompts, () => x.json(200, envelope('classify', model, data, prompts)));
}

function similarity(query: string, document: string): number {
  const left = vectorOf(query, DIMENSIONS);
  const right = vectorOf(document, DIMENSIONS);
  return left.reduce((sum, value, index) => sum + value * (right[index] ?? 0), 0);
}

async function score(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const model = canonicalModel(x, body);
  const queries = strings(body['queries'] ?? body['text_1']);
  const documents = strings(body['documents'] ?? body['text_2']);
  if (queries.length === 0 || documents.length === 0) throw missingField('queries', body);
  const pairs = documents.map((document, index) => [queries[index % queries.length] ?? '', document] as const);
  const prompts = pairs.map(([query, document]) => fromText(`${query}\n${document}`));
  const data = pairs.map(([query, document], index) => ({
    index,
    object: 'score',
    score: similarity(query, document),
  }));
  await run(x, body, prompts, () => x.json(200, envelope('score', model, data, prompts)));
}

async function rerank(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const model = canonicalModel(x, body);
  if (typeof body['query'] !== 'string') throw missingField('query', body);
  const { query } = body as { query: string };
  const documents = strings(body['documents']);
  if (documents.length === 0) throw missingField('documents', body);
  const top = optionalInt(body, 'top_n') ?? documents.length;
  const prompts = documents.map((document) => fromText(`${query}\n${document}`));
  const results = documents
    .map((text, index) => ({
      index,
      document: { text, multi_modal: null },
      relevance_score: nonceOf(text) === undefined ? similarity(query, text) : 1,
    }))
    .sort((left, right) => right.relevance_score - left.relevance_score)
    .slice(0, top === 0 ? documents.length : top);
  const tokens = prompts.reduce((sum, prompt) => sum + prompt.tokens.length, 0);
  const answer = { id: `rerank-${shortId()}`, model, usage: { prompt_tokens: tokens, total_tokens: tokens }, results };
  await run(x, body, prompts, () => x.json(200, answer));
}

function strings(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return [];
  return value.map((item) => (isObject(item) ? String(item['text'] ?? '') : String(item)));
}
