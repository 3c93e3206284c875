/** Many clients at once over real sockets, and what each of them got. */
import { Agent, request, type Dispatcher } from 'undici';

export interface ClientAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** From the call to the last byte, in milliseconds. */
  readonly tookMs: number;
}

export interface Asking {
  readonly path?: string;
  /** Instead of a chat; the model is put into it. */
  readonly body?: Readonly<Record<string, unknown>>;
  readonly stream?: boolean;
  /** Comes back as the first token of a simulated engine. */
  readonly nonce?: string;
  /** What a simulated engine is to do with this request. */
  readonly fake?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface OpenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Dispatcher.ResponseData['body'];
}

export class Clients implements AsyncDisposable {
  readonly #url: string;
  readonly #agent = new Agent({ pipelining: 1, headersTimeout: 0, bodyTimeout: 0, connect: { timeout: 60_000 } });

  constructor(url: string) {
    this.#url = url;
  }

  async get(path: string): Promise<ClientAnswer> {
    return this.#whole(performance.now(), await this.#send('GET', path));
  }

  async post(path: string, body: unknown, asking: Asking = {}): Promise<ClientAnswer> {
    return this.#whole(performance.now(), await this.#send('POST', path, body, asking));
  }

  /** The whole answer to one chat request. Rejects when the connection is lost or the request aborted. */
  async chat(model: string, asking: Asking = {}): Promise<ClientAnswer> {
    const startedAt = performance.now();
    return this.#whole(startedAt, await this.open(model, asking));
  }

  /** The head of one chat answer; its body is the caller's. */
  async open(model: string, asking: Asking = {}): Promise<OpenAnswer> {
    const body = asking.body ? { model, ...asking.body } : chatBody(model, asking);
    return this.#send('POST', asking.path ?? '/v1/chat/completions', body, asking);
  }

  /** All at once. */
  chats(count: number, model: string, asking: (index: number) => Asking = () => ({})): Promise<ClientAnswer[]> {
    return Promise.all(Array.from({ length: count }, (_, index) => this.chat(model, asking(index))));
  }

  /** Closes every socket at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #whole(startedAt: number, { status, headers, body }: OpenAnswer): Promise<ClientAnswer> {
    const text = await body.text();
    return { status, headers, text, tookMs: performance.now() - startedAt };
  }

  async #send(method: 'GET' | 'POST', path: string, body?: unknown, asking: Asking = {}): Promise<OpenAnswer> {
    const answer = await request(this.#url + path, {
      method,
      dispatcher: this.#agent,
      headers: { 'content-type': 'application/json', ...asking.headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(asking.signal ? { signal: asking.signal } : {}),
    });
    const headers = Object.fromEntries(
      Object.entries(answer.headers).map(([name, value]) => [
        name,
        Array.isArray(value) ? value.join(', ') : `${value}`,
      ]),
    );
    return { status: answer.statusCode, headers, body: answer.body };
  }
}

export function chatBody(model: string, { stream, nonce, fake }: Asking = {}): Record<string, unknown> {
  const content = nonce === undefined ? 'Hello' : `nonce:${nonce}`;
  return {
    model,
    messages: [{ role: 'user', content }],
    ...(stream === undefined ? {} : { stream }),
    ...(fake === undefined ? {} : { fake }),
  };
}

/** The inner object of an error answer in OpenAI's shape. */
export function errorOf(answer: ClientAnswer): Record<string, unknown> {
  const parsed = JSON.parse(answer.text) as { readonly error?: Record<string, unknown> };
  if (parsed.error === undefined) throw new Error(`no error in ${answer.status} ${answer.text}`);
  return parsed.error;
}

/** Status and error code, or the status alone. */
export function endOf(answer: ClientAnswer): string {
  return answer.status < 400 ? String(answer.status) : `${answer.status} ${String(errorOf(answer)['code'])}`;
}

/** How often each value occurs. */
export function tally(values: Iterable<string | number>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
}
