import { describe, expect, it } from 'vitest';
import type { HttpAnswer, HttpClient } from '../platform/platform.ts';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { untilReady } from './readiness.ts';

const QUESTION = {
  origin: 'http://127.0.0.1:20001',
  pathPrefix: '',
  healthPath: '/health',
  listsModels: true,
  servedName: 'llama',
  headers: {},
};

const MODELS = '{"data": [{"id": "llama"}]}';

/** Answers of the health path in turn, the last one for ever; a text is an error of the connection. */
class ScriptedServer {
  asked = 0;
  readonly #health: readonly (number | string)[];
  readonly #models: string;

  constructor(health: readonly (number | string)[], models = MODELS) {
    this.#health = health;
    this.#models = models;
  }

  readonly http: Pick<HttpClient, 'get'> = {
    get: async (url) => {
      if (url.endsWith('/v1/models')) return answer(200, this.#models);
      const next = this.#health[Math.min(this.asked, this.#health.length - 1)];
      this.asked += 1;
      if (typeof next === 'string') throw new Error(next);
      return answer(next ?? 200, '');
    },
  };
}

const answer = (status: number, body: string): HttpAnswer => ({ status, body, headers: {} });

async function ask(server: ScriptedServer): Promise<{ readonly kind: string; readonly odd: readonly string[] }> {
  const clock = new VirtualClock();
  const odd: string[] = [];
  let kind = '';
  const asking = untilReady(
    { http: server.http as HttpClient, clock },
    QUESTION,
    new AbortController().signal,
    (detail) => odd.push(detail),
  ).then((found) => {
    kind = found.kind;
  });
  for (let round = 0; kind === '' && round < 100; round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(250);
  }
  await asking;
  return { kind, odd };
}

describe('a starting engine', () => {
  it('is loading while it refuses or answers 503, and ready with 200 only [item 159]', async () => {
    const server = new ScriptedServer(['connect ECONNREFUSED', 503, 503, 200]);
    expect(await ask(server)).toEqual({ kind: 'ready', odd: [] });
    expect(server.asked).toBe(4);
  });

  it('that answers something else is asked on, and each odd answer is told once in a row [item 159]', async () => {
    const server = new ScriptedServer([404, 404, 500, 404, 503, 204, 200]);
    const odd = ['/health answers 404', '/health answers 500', '/health answers 404', '/health answers 204'];
    expect(await ask(server)).toEqual({ kind: 'ready', odd });
  });

  it('that lists another model is a stranger on its port', async () => {
    expect(await ask(new ScriptedServer([200], '{"data": [{"id": "other"}]}'))).toMatchObject({ kind: 'stranger' });
  });
});
