import { Agent, EnvHttpProxyAgent, request, type Dispatcher } from 'undici';
import { MIB, type Bytes } from '../units.ts';
import { systemClock } from './clock.ts';
import type { HttpClient } from './platform.ts';

/** Health and metrics of one engine may overlap; nothing else may. */
const CONNECTIONS_PER_ORIGIN = 2;
/** Below the 5 s after which uvicorn closes an idle connection by default. */
const KEEP_ALIVE = 4_000;
const DEFAULT_MAX_BODY: Bytes = 4 * MIB;

/** Names that callers know, for those that undici has of its own. */
const CODES: Readonly<Record<string, string>> = {
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_HEADERS_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_BODY_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_SOCKET: 'ECONNRESET',
};

export function createHttpClient(): HttpClient {
  const settings: Agent.Options = {
    connections: CONNECTIONS_PER_ORIGIN,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE,
    keepAliveMaxTimeout: KEEP_ALIVE,
    headersTimeout: 0,
    bodyTimeout: 0,
  };
  const direct = new Agent(settings);
  let throughProxy: EnvHttpProxyAgent | undefined;
  return {
    async get(url, options) {
      const limit = new AbortController();
      using _timer = systemClock.after(options.timeout, () => {
        limit.abort(Object.assign(new Error(`no answer within ${options.timeout} ms`), { code: 'ETIMEDOUT' }));
      });
      const aborted = (): void => {
        limit.abort(options.signal?.reason);
      };
      if (options.signal?.aborted === true) aborted();
      options.signal?.addEventListener('abort', aborted, { once: true });
      try {
        if (options.outside === true) throughProxy ??= new EnvHttpProxyAgent(settings);
        const answer = await request(url, {
          dispatcher: (options.outside === true ? throughProxy : undefined) ?? direct,
          method: options.method ?? 'GET',
          signal: limit.signal,
          ...(options.headers === undefined ? {} : { headers: options.headers }),
        });
        const bytes = await readBody(answer.body, options.maxBytes ?? DEFAULT_MAX_BODY);
        const head = { status: answer.statusCode, headers: joined(answer.headers) };
        return options.binary === true ? { ...head, body: '', bytes } : { ...head, body: bytes.toString('utf8') };
      } catch (error) {
        throw limit.signal.aborted ? limit.signal.reason : withKnownCode(error);
      } finally {
        options.signal?.removeEventListener('abort', aborted);
      }
    },

    async close() {
      await Promise.all([direct.destroy(), throughProxy?.destroy()]);
    },
  };
}

function joined(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) all[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return all;
}

async function readBody(body: Dispatcher.ResponseData['body'], maxBytes: Bytes): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Leaving the loop early destroys the stream and with it the connection.
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk.subarray(0, maxBytes - size));
    size += chunk.length;
    if (size >= maxBytes) break;
  }
  return Buffer.concat(chunks);
}

function withKnownCode(error: unknown): Error {
  const failure = error instanceof Error ? error : new Error(String(error));
  const code = (failure as NodeJS.ErrnoException).code ?? '';
  const known = failure.name === 'HTTPParserError' ? 'EPROTO' : CODES[code];
  return known === undefined ? failure : Object.assign(new Error(failure.message, { cause: failure }), { code: known });
}
