import { type Json, isObject } from './body.ts';
import { badRequest, missingField, wrongType } from './errors.ts';
import { pieces } from './text.ts';

/** A prompt as the model sees it. */
export interface Prompt {
  readonly text: string;
  readonly tokens: readonly string[];
  /** Set when the client sent token ids, which makes lengths exact. */
  readonly fromIds: boolean;
  /** The last text of a chat's last turn, when that turn is a person's: what is being asked for right now. */
  readonly asked?: string;
}

const ROLES: Readonly<Record<string, string>> = { assistant: '<|assistant|>', system: '<|system|>', tool: '<|tool|>' };

/** The chat template: markers around each message, an open assistant turn at the end. */
export function renderChat(
  messages: readonly unknown[],
  tools: readonly unknown[],
  model: string,
  multimodal: boolean,
): Prompt {
  if (messages.length === 0) {
    throw badRequest('Cannot apply chat template to an empty conversation. Provide at least one message.');
  }
  const tokens = ['<|begin|>'];
  if (tools.length > 0) tokens.push('<|system|>', ...pieces(JSON.stringify(tools)), '<|end|>');
  for (const message of messages) {
    tokens.push(ROLES[roleOf(message)] ?? '<|user|>');
    if (isObject(message)) {
      const called = message['tool_calls'] ?? message['arguments'];
      tokens.push(...pieces(contentText(message['content'] ?? message['output'], model, multimodal)));
      if (called !== undefined) tokens.push(...pieces(JSON.stringify(called)));
    }
    tokens.push('<|end|>');
  }
  tokens.push('<|assistant|>');
  return { text: tokens.join(''), tokens, fromIds: false, asked: askedBy(messages) };
}

/** The items of the responses route that have no role are calls of tools and what came of them. */
function roleOf(message: unknown): string {
  if (!isObject(message)) return 'user';
  if (message['type'] === 'function_call') return 'assistant';
  return message['type'] === 'function_call_output' ? 'tool' : String(message['role'] ?? 'user');
}

/** Agents put what they know of the project around what the person typed: in parts before it, in a system turn behind it. */
function askedBy(messages: readonly unknown[]): string {
  const last = messages.findLast((message) => roleOf(message) !== 'system');
  if (!isObject(last) || roleOf(last) !== 'user') return '';
  const { content } = last;
  if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
  if (content.some((part) => isObject(part) && part['type'] === 'tool_result')) return '';
  const texts = content.filter((part) => isObject(part) && typeof part['text'] === 'string');
  const text: unknown = texts.at(-1)?.['text'];
  return typeof text === 'string' ? text : '';
}

/** Text of a message's content, a string or a list of parts; pictures only when the model takes them. */
export function contentText(content: unknown, model: string, multimodal: boolean): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  const texts: string[] = [];
  for (const part of content) {
    if (!isObject(part)) continue;
    const type = String(part['type'] ?? 'text');
    if (typeof part['text'] === 'string') texts.push(part['text']);
    else if (type === 'tool_result') texts.push(contentText(part['content'], model, multimodal));
    else if (type.includes('image') || type.includes('audio') || type.includes('video')) {
      if (!multimodal) throw badRequest(`${model} is not a multimodal model`);
      texts.push(`<|${type}|>`);
    }
  }
  return texts.join('\n');
}

export function readMessages(body: Json): readonly unknown[] {
  const messages = body['messages'];
  if (messages === undefined) throw missingField('messages', body);
  if (!Array.isArray(messages)) throw wrongType('list_type', 'messages', 'Input should be a valid list', messages);
  return messages;
}

/** Most characters one token stands for: longer text is refused before it is tokenized. */
const CHARACTERS_PER_TOKEN = 13;

/** @throws RequestError the three ways vLLM says that a prompt is too long. */
export function checkLength(prompt: Prompt, maxModelLen: number): void {
  const limit = `This model's maximum context length is ${maxModelLen} tokens. However, your prompt contains`;
  const bound = maxModelLen * CHARACTERS_PER_TOKEN;
  if (!prompt.fromIds && prompt.text.length > bound) {
    throw badRequest(
      `${limit} ${prompt.text.length} characters (more than ${bound} characters, which is the upper bound for ${maxModelLen} input tokens). Please reduce the length of the input prompt. (parameter=input_text, value=${prompt.text.length})`,
      'input_text',
    );
  }
  if (prompt.tokens.length < maxModelLen) return;
  const count = prompt.fromIds ? prompt.tokens.length : maxModelLen + 1;
  throw badRequest(
    `${limit}${prompt.fromIds ? '' : ' at least'} ${count} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=${count})`,
    'input_tokens',
  );
}
