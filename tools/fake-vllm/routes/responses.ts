import { shortId } from '../app.ts';
import { canonicalModel, planAnswers, planOf, textOf } from '../answer.ts';
import { flag, isObject, type Json, optionalInt, readJson } from '../body.ts';
import { missingField, RequestError, scaleOutDisabled } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { admit, endlessHeaders, enqueue, failureOf } from '../generate.ts';
import type { FinishReason } from '../metrics.ts';
import { checkLength, type Prompt, renderChat } from '../render.ts';
import { paceOf, readSampling } from '../sampling.ts';
import { decideTool, readTools } from '../tools.ts';
import { asRequestError, checkRank } from './request-parts.ts';
import { applyFake } from './fake.ts';
import { type ResponseJob, responseObject, streamResponse } from './response-stream.ts';
import { type Route, route } from './route.ts';

export function responsesRoutes(): Route[] {
  const refused = (): never => {
    throw scaleOutDisabled();
  };
  return [
    route('POST', '/v1/responses', responses),
    route('POST', '/v1/responses/render', refused),
    route('GET', '/v1/responses/{response_id}', get),
    route('POST', '/v1/responses/{response_id}/cancel', cancel),
  ];
}

const storeOn = (): boolean => process.env['VLLM_ENABLE_RESPONSES_API_STORE'] === '1';

async function responses(x: Exchange): Promise<void> {
  const body = readJson(x);
  applyFake(x, body);
  const job = readJob(x, body);
  await admit(x, 1);
  if (x.faults.has('never_ending_headers')) endlessHeaders(x);
  else if (job.background) background(x, job);
  else if (job.sampling.stream) streamResponse(x, job);
  else plain(x, job);
}

function readJob(x: Exchange, body: Json): ResponseJob {
  if (body['input'] === undefined) throw missingField('input', body);
  optionalInt(body, 'max_output_tokens');
  const model = canonicalModel(x, body);
  checkRank(x);
  const wantsBackground = flag(body, 'background');
  if (wantsBackground && !storeOn()) {
    throw new RequestError(
      400,
      'invalid_request_error',
      'This vLLM engine does not support `store=True` and therefore does not support the background mode. To enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching the vLLM server.',
      'background',
    );
  }
  const previous = body['previous_response_id'];
  if (typeof previous === 'string' && !x.app.responses.has(previous)) throw unknownResponse(previous);
  const tools = readTools(body);
  const prompt = promptOf(x, body, model, tools);
  const sampling = readSampling(x, body, prompt, ['max_output_tokens']);
  const decision = decideTool(body['tool_choice'], tools, prompt, x.app.options);
  checkLength(prompt, x.app.options.maxModelLen);
  const [answer] = planAnswers(x, body, prompt, sampling, decision);
  if (answer === undefined) throw new RequestError(500, 'InternalServerError', 'no answer');
  return {
    id: `resp_${shortId()}`,
    created: Math.floor(Date.now() / 1000),
    model,
    prompt,
    sampling,
    answer,
    request: body,
    background: wantsBackground,
    store: body['store'] !== false && storeOn(),
    messageId: answer.call === undefined ? `msg_${shortId()}` : `fc_${shortId()}`,
  };
}

function promptOf(x: Exchange, body: Json, model: string, tools: readonly unknown[]): Prompt {
  const input = body['input'];
  const instructions = body['instructions'];
  const lead = typeof instructions === 'string' ? [{ role: 'system', content: instructions }] : [];
  const items = Array.isArray(input) ? input.filter(isObject) : [{ role: 'user', content: input }];
  return renderChat([...lead, ...items], tools, model, x.app.knobs.multimodal);
}

function unknownResponse(id: string): RequestError {
  return new RequestError(404, 'invalid_request_error', `Response with id '${id}' not found.`, 'response_id');
}

function get(x: Exchange): void {
  const id = x.path.split('/')[3] ?? '';
  const stored = x.app.responses.get(id);
  if (stored === undefined) throw unknownResponse(id);
  x.json(200, stored);
}

function cancel(x: Exchange): void {
  const id = x.path.split('/')[3] ?? '';
  const stored = x.app.responses.get(id);
  if (!isObject(stored)) throw unknownResponse(id);
  if (stored['status'] !== 'queued' && stored['status'] !== 'in_progress') {
    throw new RequestError(400, 'invalid_request_error', 'Cannot cancel a synchronous response.', 'response_id');
  }
  stored['status'] = 'cancelled';
  x.json(200, stored);
}

function plain(x: Exchange, job: ResponseJob): void {
  generate(
    x,
    job,
    (body) => x.json(200, body),
    (error) => x.error(error),
  );
}

/** Answers at once with `queued`; the result is fetched later. */
function background(x: Exchange, job: ResponseJob): void {
  const queued = responseObject(x, job, { status: 'queued', emitted: 0, cached: 0 });
  x.app.responses.set(job.id, queued);
  generate(
    x,
    job,
    () => undefined,
    () => undefined,
  );
  // The client's leaving does not end a background response.
  x.onAbort = undefined;
  x.json(200, queued);
}

function generate(
  x: Exchange,
  job: ResponseJob,
  done: (body: Json) => void,
  failed: (error: RequestError) => void,
): void {
  let emitted = 0;
  let cached = 0;
  const listener = {
    token: (): void => {
      emitted += 1;
    },
    finished: (_index: number, reason: FinishReason): void => {
      const status = reason === 'length' ? 'incomplete' : 'completed';
      const text = textOf(job.answer, emitted);
      const body = responseObject(x, job, { status, emitted, cached, text });
      if (job.store || job.background) x.app.responses.set(job.id, body);
      done(body);
    },
    failed: (error: Error): void => failed(failureOf(error)),
  };
  const { id, prompt, sampling, answer } = job;
  const generation = {
    id,
    prompt,
    maxTokens: sampling.maxTokens,
    plans: [planOf(answer)],
    pace: paceOf(x, sampling),
    listener,
  };
  void enqueue(x, generation).then(
    (running) => {
      cached = running.cachedTokens;
    },
    (error: Error) => {
      if (!x.gone) failed(asRequestError(error));
    },
  );
}
