/** The official OpenAI client: the installed one, or the one whose entry file `OPENAI_CLIENT` names. */
import { pathToFileURL } from 'node:url';

type Module = typeof import('openai');

const named = process.env['OPENAI_CLIENT'] ?? '';

export const openai = (await import(named === '' ? 'openai' : pathToFileURL(named).href)) as Module;

export type Client = InstanceType<Module['OpenAI']>;
export type ClientOptions = NonNullable<ConstructorParameters<Module['OpenAI']>[0]>;

/** Without retries of its own unless told otherwise. */
export function clientOf(gateway: { readonly url: string }, options: ClientOptions = {}): Client {
  return new openai.OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'sk-none', maxRetries: 0, ...options });
}

/** What a call is refused with. */
export async function refusalOf(call: PromiseLike<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error: unknown) => error,
  );
}
