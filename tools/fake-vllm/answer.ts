import { type Json, isObject } from './body.ts';
import type { Plan } from './engine.ts';
import { badRequest, notFoundModel } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { Prompt } from './render.ts';
import { planFixed, planText, type PlannedAnswer, type Sampling } from './sampling.ts';
import { instanceOf } from './schema.ts';
import { hash, nonceOf, pieces } from './text.ts';
import { callArguments, type ToolDecision } from './tools.ts';

/** One answer of the model before it is generated. */
export interface Answer extends PlannedAnswer {
  /** Set when the answer is a tool call: the first piece is its name, the others its arguments. */
  readonly call: string | undefined;
}

/** The canonical name, or 404 as vLLM words it. `null`, `""` and absent mean the base model. */
export function canonicalModel(x: Exchange, body: Json): string {
  const { servedNames } = x.app.options;
  const asked = body['model'];
  if (typeof asked === 'string' && x.app.loras.has(asked)) return asked;
  if (typeof asked === 'string' && asked !== '' && !servedNames.includes(asked)) {
    throw notFoundModel(asked, servedNames);
  }
  return servedNames[0] ?? '';
}

export function planAnswers(
  x: Exchange,
  body: Json,
  prompt: Prompt,
  sampling: Sampling,
  decision: ToolDecision | undefined,
): Answer[] {
  const fixed = structuredText(body, prompt.text);
  return Array.from({ length: sampling.n }, (_, variant) => {
    if (decision !== undefined) return planCall(decision, prompt, sampling);
    if (fixed !== undefined) return { ...planFixed(fixed, sampling), call: undefined };
    return { ...planText(x, prompt, sampling, variant), call: undefined };
  });
}

function planCall(decision: ToolDecision, prompt: Prompt, sampling: Sampling): Answer {
  const { tool } = decision;
  const written = callArguments(tool, prompt.text);
  const raw = `<tool_call>{"name": "${tool.name}", "arguments": ${written}}</tool_call>`;
  // A call that does not fit is not understood by the parser and comes out as text.
  if (pieces(raw).length > sampling.maxTokens) return { ...planFixed(raw, sampling), call: undefined };
  return { pieces: ['', ...pieces(written)], reason: 'stop', stopReason: null, call: tool.name };
}

/** Text that `response_format` or `structured_outputs` forces. @throws RequestError */
function structuredText(body: Json, prompt: string): string | undefined {
  const free = nonceOf(prompt) ?? 'simulated';
  const format = isObject(body['response_format']) ? body['response_format'] : undefined;
  const nested = isObject(body['text']) && isObject(body['text']['format']) ? body['text']['format'] : undefined;
  const wanted = format ?? nested;
  const structured = isObject(body['structured_outputs']) ? body['structured_outputs'] : {};
  const choice = structured['choice'];
  if (Array.isArray(choice)) {
    if (choice.length === 0) throw badRequest('Choice list must not be empty');
    return String(choice[hash(prompt) % choice.length]);
  }
  if (structured['json'] !== undefined) return JSON.stringify(instanceOf(parseMaybe(structured['json']), free));
  if (wanted?.['type'] === 'json_object') return JSON.stringify({ answer: free });
  if (wanted?.['type'] !== 'json_schema') return undefined;
  const wrapper = isObject(wanted['json_schema']) ? wanted['json_schema'] : wanted;
  return JSON.stringify(instanceOf(wrapper['schema'] ?? {}, free));
}

function parseMaybe(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    throw badRequest('Grammar error: invalid JSON schema');
  }
}

/** An answer without its stop reason, as the engine takes it. */
export function planOf(answer: Answer): Plan {
  return { pieces: answer.pieces, reason: answer.reason };
}

export function textOf(answer: Answer, emitted: number): string {
  return answer.pieces.slice(0, emitted).join('');
}
