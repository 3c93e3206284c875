/** Error answers of engines: recognised, and wrapped where they lack the route's shape. */
import type { ErrorShape } from './endpoints.ts';
import { MAX_ERROR_TEXT } from './limits.ts';
import { anthropicTypeOf, openAiTypeOf } from './reply.ts';

/** What vLLM says while it shuts down or has died: nothing of the request was done, it may go elsewhere. */
const GOING_DOWN = ['cannot schedule new futures after shutdown', 'EngineCore encountered an issue'].map((text) =>
  Buffer.from(text),
);

export function saysGoingDown(body: Buffer): boolean {
  return GOING_DOWN.some((text) => body.includes(text));
}

type Json = Readonly<Record<string, unknown>>;

/** A JSON object, or undefined when the text is none. */
export function parseObject(text: string): Json | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return asObject(value);
}

function asObject(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

/** The body if it has the route's shape, else its text in that shape. */
export function shapedErrorBody(body: Buffer, status: number, shape: ErrorShape, requestId: string): Buffer {
  const document = parseObject(body.toString());
  const inner = asObject(document?.['error']);
  const typed = typeof inner?.['message'] === 'string';
  if (shape === 'openai' ? typed && document?.['type'] === undefined : typed && document?.['type'] === 'error')
    return body;
  const message = messageOf(document, inner, body, status);
  return Buffer.from(
    JSON.stringify(
      shape === 'openai'
        ? { error: { message, type: openAiTypeOf(status), param: null, code: null } }
        : { type: 'error', error: { type: anthropicTypeOf(status), message }, request_id: requestId },
    ),
  );
}

function messageOf(document: Json | undefined, inner: Json | undefined, body: Buffer, status: number): string {
  const known = [inner?.['message'], document?.['message'], document?.['error'], document?.['detail']];
  const text = known.find((value) => typeof value === 'string') ?? body.toString();
  const bounded = text.length > MAX_ERROR_TEXT ? `${text.slice(0, MAX_ERROR_TEXT)}…` : text;
  return bounded.trim() === '' ? `The engine answered with status ${status} and no text.` : bounded;
}

/** Shorter values are no secrets, and would be found everywhere. */
const SHORTEST_SECRET = 8;

/** An engine that quotes the request it got must not hand the gateway's credentials on. `fields`: those we added to it. */
export function withoutCredentials(body: Buffer, fields: Readonly<Record<string, string>>): Buffer {
  let text: string | null = null;
  for (const value of Object.values(fields)) {
    const secret = value.replace(/^\S+ (?=\S+$)/, '');
    if (secret.length < SHORTEST_SECRET || !body.includes(secret)) continue;
    text = (text ?? body.toString()).replaceAll(secret, '[redacted]');
  }
  return text === null ? body : Buffer.from(text);
}

/** Where the engine names the model by the name it knows, the client reads the one it asked for. */
export function renameInError(body: Buffer, served: string, asked: string): Buffer {
  if (served === asked || !body.includes(served)) return body;
  const pattern = new RegExp(
    `(?<![\\w./:@-])${served.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')}(?![\\w/@-]|[.:]\\w)`,
    'g',
  );
  const name = JSON.stringify(asked).slice(1, -1);
  return Buffer.from(body.toString().replace(pattern, () => name));
}
