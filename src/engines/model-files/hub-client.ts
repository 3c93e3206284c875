/**
 * Requests to a Hugging Face hub. The token goes to the hub's own origin and nowhere else, however a redirect asks for it,
 * and into no text. Redirects are followed here, a few of them, and never from https to http.
 */
import type { HttpAnswer, Platform } from '../../platform/platform.ts';
import { MIB, SECOND, type Bytes, type Milliseconds } from '../../units.ts';

export interface HubOptions {
  readonly platform: Pick<Platform, 'http' | 'clock'>;
  /** `https://huggingface.co` or a mirror of it, without a slash at the end. */
  readonly origin: string;
  readonly token: string | null;
}

export type HubAnswer =
  | { readonly kind: 'answered'; readonly answer: HttpAnswer }
  /** `passing`: it may go well at another time, or with a token. `status`: null = no answer. */
  | { readonly kind: 'failed'; readonly reason: string; readonly passing: boolean; readonly status: number | null };

export interface HubQuestion {
  /** Below the origin, with the leading slash. */
  readonly path: string;
  /** What is asked for, for people: `org/name`. */
  readonly repo: string;
  readonly method?: 'GET' | 'HEAD';
  readonly maxBytes?: Bytes;
  /** The first so many bytes, as they are. */
  readonly firstBytes?: Bytes;
  readonly signal?: AbortSignal | undefined;
  /** The first answer that says this ends the search, redirect or not. */
  readonly until?: (answer: HttpAnswer) => boolean;
}

export interface Hub {
  readonly host: string;
  ask(question: HubQuestion): Promise<HubAnswer>;
}

const TIMEOUT: Milliseconds = 15 * SECOND;
const RETRY_AFTER: Milliseconds = SECOND / 2;
const MAX_REDIRECTS = 5;
const DEFAULT_MAX_BYTES: Bytes = 16 * MIB;
const ONCE_MORE = new Set([502, 503, 504]);

export function createHub(options: HubOptions): Hub {
  return new AskedHub(options);
}

class AskedHub implements Hub {
  readonly host: string;
  readonly #options: HubOptions;
  readonly #home: URL | null;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#home = parseUrl(options.origin);
    this.host = this.#home?.host ?? options.origin;
  }

  async ask(question: HubQuestion): Promise<HubAnswer> {
    const first = await this.#attempt(question);
    if (first.kind === 'answered' || !mayHelpAgain(first) || question.signal?.aborted === true) return first;
    await this.#options.platform.clock.sleep(RETRY_AFTER);
    return this.#attempt(question);
  }

  async #attempt(question: HubQuestion): Promise<HubAnswer> {
    const { host } = this;
    let url = parseUrl(`${this.#options.origin}${question.path}`);
    if (this.#home === null || url === null) {
      return failed(`${host} is no address of a hub: check HF_ENDPOINT`, false, null);
    }
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await this.#get(url, question);
      if (answer instanceof Error) {
        // Only the code: a message may hold the whole address.
        const reason = `the hub ${host} cannot be reached (${codeOf(answer)}): check the network, the proxy or HF_ENDPOINT`;
        return failed(reason, true, null);
      }
      if (question.until?.(answer) === true) return { kind: 'answered', answer };
      const next = redirectOf(answer, url);
      if (next === null) return this.#judge(answer, question.repo, url);
      if (url.protocol === 'https:' && next.protocol !== 'https:') {
        return failed(`the hub ${host} sends to an address that is not encrypted`, true, answer.status);
      }
      url = next;
    }
    return failed(`the hub ${host} sends in circles`, true, null);
  }

  async #get(url: URL, question: HubQuestion): Promise<HttpAnswer | Error> {
    const { platform, token } = this.#options;
    const { firstBytes, signal } = question;
    const authorization = token !== null && url.origin === this.#home?.origin ? `Bearer ${token}` : null;
    try {
      return await platform.http.get(url.href, {
        timeout: TIMEOUT,
        outside: true,
        method: question.method ?? 'GET',
        binary: firstBytes !== undefined,
        maxBytes: firstBytes ?? question.maxBytes ?? DEFAULT_MAX_BYTES,
        ...(signal === undefined ? {} : { signal }),
        headers: {
          'user-agent': 'vllm-gateway',
          // Sizes are those of the files, not of a compressed answer.
          'accept-encoding': 'identity',
          ...(firstBytes === undefined ? {} : { range: `bytes=0-${firstBytes - 1}` }),
          ...(authorization === null ? {} : { authorization }),
        },
      });
    } catch (error) {
      return error instanceof Error ? error : new Error('no answer');
    }
  }

  #judge(answer: HttpAnswer, repo: string, url: URL): HubAnswer {
    const { status } = answer;
    if (status >= 200 && status < 300) return { kind: 'answered', answer };
    const { host } = this;
    const hasToken = this.#options.token !== null;
    switch (status) {
      case 401: {
        const help = hasToken
          ? `does not take the token for ${repo}: check HF_TOKEN, and repo`
          : `shows ${repo} only with a token, or has no such model: set HF_TOKEN to one that may read it, or check repo`;
        return failed(`the hub ${host} ${help}`, true, status);
      }
      case 403: {
        const help = 'accept its licence there, or take the token of an account that may';
        return failed(`the hub ${host} does not let this token read ${repo}: ${help}`, true, status);
      }
      case 404: {
        const shown = hasToken ? '' : ' that it shows without a token';
        return failed(`the hub ${host} has no model ${repo}${shown}: check repo`, false, status);
      }
      case 429: {
        const help = hasToken ? '' : '; with a token (HF_TOKEN) it may allow more';
        return failed(`the hub ${host} wants fewer requests (429)${help}`, true, status);
      }
      default:
        return failed(`${url.host} answered ${status} for ${repo}`, status >= 500 || status === 408, status);
    }
  }
}

/** A gateway in between, or a connection, that broke. */
function mayHelpAgain({ status, reason }: HubAnswer & { readonly kind: 'failed' }): boolean {
  return status === null ? /\((?:ECONNRESET|EPIPE)\)/.test(reason) : ONCE_MORE.has(status);
}

function failed(reason: string, passing: boolean, status: number | null): HubAnswer {
  return { kind: 'failed', reason, passing, status };
}

function redirectOf(answer: HttpAnswer, from: URL): URL | null {
  const location = answer.headers?.['location'];
  if (answer.status < 300 || answer.status >= 400 || location === undefined) return null;
  const next = parseUrl(location, from);
  return next !== null && /^https?:$/.test(next.protocol) ? next : null;
}

export function parseUrl(text: string, base?: URL): URL | null {
  return URL.canParse(text, base?.href) ? new URL(text, base?.href) : null;
}

function codeOf(error: Error): string {
  const code = 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^\w+$/.test(code) ? code : 'no answer';
}
