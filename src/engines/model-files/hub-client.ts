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
  /** Below the origin, with the leading slash; or a whole address. */
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
/** A gateway or a connection that broke: once more is worth it. */
const ONCE_MORE = new Set([502, 503, 504]);
const BROKEN = new Set(['ECONNRESET', 'EPIPE']);

export function createHub({ platform, origin, token }: HubOptions): Hub {
  const home = parseUrl(origin);
  const host = home?.host ?? origin;

  async function attempt(question: HubQuestion): Promise<HubAnswer> {
    let url = parseUrl(question.path.startsWith('/') ? `${origin}${question.path}` : question.path);
    if (home === null || url === null) return failed(`${host} is no address of a hub: check HF_ENDPOINT`, false, null);
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const answer = await get(url, question);
      if (answer instanceof Error) return unreachable(answer);
      if (question.until?.(answer) === true) return { kind: 'answered', answer };
      const next = redirectOf(answer, url);
      if (next === null) return judge(answer, question.repo, url);
      if (url.protocol === 'https:' && next.protocol !== 'https:') {
        return failed(`the hub ${host} sends to an address that is not encrypted`, true, answer.status);
      }
      url = next;
    }
    return failed(`the hub ${host} sends in circles`, true, null);
  }

  async function get(url: URL, question: HubQuestion): Promise<HttpAnswer | Error> {
    const binary = question.firstBytes !== undefined;
    const isHome = home !== null && url.origin === home.origin;
    try {
      return await platform.http.get(url.href, {
        timeout: TIMEOUT,
        outside: true,
        method: question.method ?? 'GET',
        binary,
        maxBytes: question.firstBytes ?? question.maxBytes ?? DEFAULT_MAX_BYTES,
        ...(question.signal === undefined ? {} : { signal: question.signal }),
        headers: {
          'user-agent': 'vllm-gateway',
          // Sizes are those of the files, not of a compressed answer.
          'accept-encoding': 'identity',
          ...(question.firstBytes === undefined ? {} : { range: `bytes=0-${question.firstBytes - 1}` }),
          ...(isHome && token !== null ? { authorization: `Bearer ${token}` } : {}),
        },
      });
    } catch (error) {
      return error instanceof Error ? error : new Error('no answer');
    }
  }

  function unreachable(error: Error): HubAnswer {
    // Only the code: a message may hold the whole address.
    const code = codeOf(error);
    return failed(
      `the hub ${host} cannot be reached (${code}): check the network, the proxy or HF_ENDPOINT`,
      true,
      null,
    );
  }

  function judge(answer: HttpAnswer, repo: string, url: URL): HubAnswer {
    if (answer.status >= 200 && answer.status < 300) return { kind: 'answered', answer };
    const fail = (reason: string, passing: boolean): HubAnswer => failed(reason, passing, answer.status);
    switch (answer.status) {
      case 401:
        return token === null
          ? fail(
              `the hub ${host} shows ${repo} only with a token, or has no such model: set HF_TOKEN to one that may read it, or check repo`,
              true,
            )
          : fail(`the hub ${host} does not take the token for ${repo}: check HF_TOKEN, and repo`, true);
      case 403:
        return fail(
          `the hub ${host} does not let this token read ${repo}: accept its licence there, or take the token of an account that may`,
          true,
        );
      case 404:
        return fail(
          `the hub ${host} has no model ${repo}${token === null ? ' that it shows without a token' : ''}: check repo`,
          false,
        );
      case 429:
        return fail(
          `the hub ${host} wants fewer requests (429)${token === null ? '; a token (HF_TOKEN) may have more' : ''}`,
          true,
        );
      default:
        return fail(`${url.host} answered ${answer.status} for ${repo}`, answer.status >= 500 || answer.status === 408);
    }
  }

  return {
    host,
    async ask(question) {
      const first = await attempt(question);
      const again =
        first.kind === 'failed' &&
        question.signal?.aborted !== true &&
        (first.status === null ? [...BROKEN].some((code) => first.reason.includes(code)) : ONCE_MORE.has(first.status));
      if (!again) return first;
      await platform.clock.sleep(RETRY_AFTER);
      return attempt(question);
    },
  };
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
