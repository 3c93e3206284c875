import { existsSync } from 'node:fs';
import { shortId } from '../app.ts';
import { canonicalModel } from '../answer.ts';
import { flag, type Json, readJson } from '../body.ts';
import { fullUsage, tokenIds } from '../chat-parts.ts';
import { missingField, RequestError, scaleOutDisabled } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import type { Task } from '../options.ts';
import { checkLength, readMessages, renderChat } from '../render.ts';
import { paceOf, planText, readSampling } from '../sampling.ts';
import { hash } from '../text.ts';
import { readTools } from '../tools.ts';
import { asRequestError } from './request-parts.ts';
import { fromIds, fromText, readTokenIds, samplingParams } from './completions.ts';
import { applyFake } from './fake.ts';
import { type Route, route } from './route.ts';

/** Tokens in and out, and the small routes beside them. */
export function tokenRoutes(task: Task): Route[] {
  const routes = [route('POST', '/tokenize', tokenize), route('POST', '/detokenize', detokenize)];
  if (task !== 'generate') return routes;
  routes.push(
    route('POST', '/generative_scoring', scoring),
    route('POST', '/scale_elastic_ep', (x) => x.json(200, { message: 'Scaled (simulated)' })),
    route('POST', '/is_scaling_elastic_ep', (x) => x.json(200, { is_scaling_elastic_ep: false })),
    route('POST', '/inference/v1/generate', generate),
    route('POST', '/inference/v1/abort_requests', () => {
      throw scaleOutDisabled();
    }),
  );
  if (process.env['VLLM_ALLOW_RUNTIME_LORA_UPDATING'] === '1') {
    routes.push(
      route('POST', '/v1/load_lora_adapter', loadAdapter),
      route('POST', '/v1/unload_lora_adapter', unloadAdapter),
    );
  }
  return routes;
}

function tokenize(x: Exchange): void {
  const body = readJson(x);
  const model = canonicalModel(x, body);
  const prompt =
    body['messages'] === undefined
      ? fromText(String(body['prompt'] ?? ''))
      : renderChat(readMessages(body), readTools(body), model, x.app.knobs.multimodal);
  const ids = tokenIds(prompt.tokens);
  const strings = flag(body, 'return_token_strs') ? prompt.tokens.map((token) => token.replace(/^ /, 'Ġ')) : null;
  x.json(200, { count: ids.length, max_model_len: x.app.options.maxModelLen, tokens: ids, token_strs: strings });
}

function detokenize(x: Exchange): void {
  const body = readJson(x);
  canonicalModel(x, body);
  const ids = body['tokens'];
  if (!Array.isArray(ids)) throw missingField('tokens', body);
  x.json(200, { prompt: fromIds(ids.map(Number)).text });
}

function scoring(x: Exchange): void {
  const body = readJson(x);
  const model = canonicalModel(x, body);
  const items = Array.isArray(body['items']) ? body['items'] : [];
  const query = String(body['query'] ?? '');
  const prompt = items.reduce<number>((sum, item) => sum + fromText(query + String(item)).tokens.length, 0);
  x.json(200, {
    id: `generative-scoring-${shortId()}`,
    object: 'list',
    created: Math.floor(Date.now() / 1000),
    model,
    data: items.map((item, index) => ({
      index,
      object: 'score',
      score: (hash(query + String(item)) % 1000) / 1000 + 0.000_1,
    })),
    usage: fullUsage(x, { prompt, completion: items.length, cached: 0 }),
  });
}

/** Token ids in, token ids out; only with `--enable-scale-out`. */
async function generate(x: Exchange): Promise<void> {
  const body = readJson(x);
  if (!x.app.options.on('enable-scale-out')) throw scaleOutDisabled();
  applyFake(x, body);
  const prompt = readTokenIds(body);
  const sampling = readSampling(x, { ...samplingParams(body), fake: body['fake'] }, prompt, ['max_tokens']);
  checkLength(prompt, x.app.options.maxModelLen);
  await admit(x, 1);
  const plan = planText(x, prompt, sampling, 0);
  let emitted = 0;
  const listener = {
    token: (): void => {
      emitted += 1;
    },
    finished: (_index: number, reason: FinishReason): void => {
      const usage = { prompt: prompt.tokens.length, completion: emitted, cached: 0 };
      x.json(200, generated(x, tokenIds(plan.pieces.slice(0, emitted)), reason, fullUsage(x, usage)));
    },
    failed: (error: Error): void => x.error(failureOf(error)),
  };
  const generation = {
    id: 'generate',
    prompt,
    maxTokens: sampling.maxTokens,
    plans: [plan],
    pace: paceOf(x, sampling),
    listener,
  };
  await enqueue(x, generation).catch((error: Error) => {
    if (!x.gone) x.error(asRequestError(error));
  });
}

function generated(x: Exchange, ids: readonly number[], reason: FinishReason, usage: Json): Json {
  return {
    request_id: `generate-tokens-${shortId()}`,
    model: x.app.options.servedNames[0] ?? '',
    created: Math.floor(Date.now() / 1000),
    usage,
    prompt_logprobs: null,
    prompt_token_id_logprobs: null,
    prompt_token_ids: null,
    mm_placeholders: null,
    metrics: null,
    kv_transfer_params: null,
    ec_transfer_params: null,
    output_mode: 'tokens',
    choices: [
      {
        index: 0,
        finish_reason: reason,
        stop_reason: null,
        token_ids: ids,
        routed_experts: null,
        sampling_mask: null,
        weight_versions: [{ version: 'default', start: 0, end: ids.length }],
        logprobs: null,
      },
    ],
  };
}

function loadAdapter(x: Exchange): void {
  const body = readJson(x);
  const name = String(body['lora_name'] ?? '');
  const path = String(body['lora_path'] ?? '');
  if (!existsSync(path)) {
    throw new RequestError(404, 'NotFoundError', `Loading lora ${name} failed: No adapter found for ${path}`);
  }
  x.app.loras.set(name, path);
  const text = `Success: LoRA adapter '${name}' added successfully.`;
  x.send(200, 'text/plain; charset=utf-8', Buffer.from(text), []);
}

function unloadAdapter(x: Exchange): void {
  const body = readJson(x);
  const name = String(body['lora_name'] ?? '');
  if (!x.app.loras.delete(name)) {
    throw new RequestError(404, 'NotFoundError', `The lora adapter '${name}' cannot be found.`);
  }
  const text = `Success: LoRA adapter '${name}' removed successfully.`;
  x.send(200, 'text/plain; charset=utf-8', Buffer.from(text), []);
}
