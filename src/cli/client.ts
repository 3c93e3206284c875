/** Talks to a running gateway: answers are checked against the contract, failures become sentences. */
import { errorAnswer } from '../admin/contract.ts';
import { CliError, EXIT } from './world.ts';
import type { World } from './world.ts';

export const DEFAULT_URL = 'http://127.0.0.1:9000';

interface Schema<Value> {
  safeParse(value: unknown): { success: true; data: Value } | { success: false };
}

export interface RequestOptions {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** `--url`, else GATEWAY_URL, else where a gateway listens by default. */
export function gatewayUrl(flag: string | undefined, env: World['platform']['env']): string {
  const text = flag ?? (env['GATEWAY_URL'] || DEFAULT_URL);
  const withScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(withScheme) || !/^https?:/i.test(withScheme)) {
    const source = flag === undefined ? 'GATEWAY_URL' : '--url';
    throw new CliError(`${source}: '${text}' is no address of a gateway; write http://HOST:PORT`, {
      exitCode: EXIT.usage,
    });
  }
  return withScheme.replace(/\/+$/, '');
}

export class GatewayClient {
  readonly url: string;
  readonly #world: World;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(world: World, url: string) {
    this.#world = world;
    this.url = url;
    const key = world.platform.env['GATEWAY_ADMIN_KEY'];
    this.#headers = key ? { authorization: `Bearer ${key}` } : {};
  }

  /** The answer as sent and as read. */
  async json<Value>(
    path: string,
    schema: Schema<Value>,
    options: RequestOptions = {},
  ): Promise<{ text: string; value: Value }> {
    const response = await this.open(path, options);
    const text = await response.text();
    const parsed = schema.safeParse(parseJson(text));
    if (!parsed.success) throw this.#stranger();
    return { text, value: parsed.data };
  }

  /** A successful response with its body unread. */
  async open(path: string, options: RequestOptions = {}): Promise<Response> {
    let response: Response;
    try {
      response = await this.#world.fetch(`${this.url}${path}`, {
        method: options.method ?? 'GET',
        headers: { ...this.#headers, ...options.headers },
        ...(options.signal ? { signal: options.signal } : {}),
        redirect: 'manual',
      });
    } catch (error) {
      throw this.#unreachable(error);
    }
    if (response.ok) return response;
    throw await this.#failure(response);
  }

  #unreachable(error: unknown): Error {
    const code = causeCode(error);
    if (code === HEADERS_TIMEOUT || isAbort(error)) return error as Error;
    const why = code === 'ECONNREFUSED' ? 'nothing listens there' : rootMessage(error);
    return new CliError(`No gateway answers at ${this.url}: ${why}.`, {
      hint: 'Start one with `vllm-gateway serve` or `vllm-gateway demo`, or name its address with --url or GATEWAY_URL.',
    });
  }

  async #failure(response: Response): Promise<CliError> {
    const parsed = errorAnswer.safeParse(parseJson(await response.text()));
    if (!parsed.success) return this.#stranger(response.status);
    const { message, code } = parsed.data.error;
    const hint =
      response.status === 401 || response.status === 403
        ? 'The key of this command comes from GATEWAY_ADMIN_KEY.'
        : undefined;
    return new CliError(`${message} (${code})`, hint === undefined ? { code } : { code, hint });
  }

  #stranger(status?: number): CliError {
    const how = status === undefined ? '' : ` with status ${status}`;
    return new CliError(`${this.url} answers${how}, but not like a vLLM Gateway of this version.`, {
      hint: 'Is the address right? It is named by --url or GATEWAY_URL.',
    });
  }
}

/** Node's fetch gives up on headers and on a silent body after five minutes; both are no failure of the gateway. */
export const HEADERS_TIMEOUT = 'UND_ERR_HEADERS_TIMEOUT';
export const BODY_TIMEOUT = 'UND_ERR_BODY_TIMEOUT';

/** The code of an error or of what caused it, e.g. ECONNREFUSED. */
export function causeCode(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    if ('code' in at && typeof at.code === 'string') return at.code;
    if (at instanceof AggregateError && at.errors.length > 0) return causeCode(at.errors[0]);
  }
  return undefined;
}

/** fetch itself only says that it failed; what caused it says why. */
function rootMessage(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return at instanceof Error && at.message !== '' ? at.message : (causeCode(error) ?? String(error));
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: no answer of ours, which the schema will say.
    return undefined;
  }
}

/** Text of a body, piece by piece. */
export async function* textOf(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const decoder = new TextDecoder();
  for await (const piece of response.body) yield decoder.decode(piece, { stream: true });
}
