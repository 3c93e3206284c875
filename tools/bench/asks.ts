/** What the load asks for, and how: everybody again as soon as answered, or at intended moments. */
import { LoadClient, type Answered, type Asked } from './client.ts';
import type { Running } from './targets.ts';

const CHAT = '/v1/chat/completions';

let serial = 0;
const nonce = (): string => `n${(++serial).toString(36)}x`;

const prompts = new Map<number, Buffer>();

function prompt(bytes: number): Buffer {
  const known = prompts.get(bytes);
  if (known !== undefined) return known;
  const text = 'lorem ipsum dolor '.repeat(Math.ceil(bytes / 18)).slice(0, bytes);
  const made = Buffer.from(`{"model":"bench","messages":[{"role":"user","content":"${text}"}],"temperature":0.7,`);
  prompts.set(bytes, made);
  return made;
}

/** `hold`: milliseconds that the engine takes over it. */
export function plainAsk(promptBytes: number, hold = 0, model?: string): Asked {
  const word = nonce();
  const end = Buffer.from(`"max_tokens":16,${hold > 0 ? `"hold":${hold},` : ''}"user":"nonce:${word}"}`);
  const start = prompt(promptBytes);
  const named = model === undefined ? start : Buffer.from(start.toString('latin1').replace('bench', model));
  return { path: CHAT, body: [named, end], nonce: word, events: null };
}

/** `every`: milliseconds between events; 0 = as fast as they go. */
export function streamAsk(events: number, every: number): Asked {
  const word = nonce();
  const text = `{"model":"bench","messages":[{"role":"user","content":"hello"}],"stream":true,"max_tokens":${events},"every":${every},"user":"nonce:${word}"}`;
  return { path: CHAT, body: [Buffer.from(text)], nonce: word, events };
}

export function clients(target: Pick<Running, 'port' | 'headers'>, count: number): LoadClient[] {
  return Array.from({ length: count }, () => new LoadClient(target.port, target.headers));
}

export function closing<T>(all: readonly LoadClient[], run: () => Promise<T>): Promise<T> {
  return run().finally(() => {
    for (const client of all) client.close();
  });
}

export function check(answer: Answered): Answered {
  if (answer.fault !== null) throw new Error(`an answer was not as it had to be: ${answer.fault}`);
  return answer;
}

export interface Loop {
  readonly done: number;
  /** Milliseconds each. */
  readonly delays: readonly number[];
  readonly statuses: ReadonlyMap<number, number>;
}

/** Each client asks again as soon as it has its answer. */
export async function closedLoop(
  all: readonly LoadClient[],
  make: () => Asked,
  until: (asked: number) => boolean,
): Promise<Loop> {
  const statuses = new Map<number, number>();
  const delays: number[] = [];
  let asked = 0;
  await Promise.all(
    all.map(async (client) => {
      while (!until(asked)) {
        asked++;
        const at = performance.now();
        const { status } = check(await client.ask(make()));
        delays.push(performance.now() - at);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    }),
  );
  return { done: delays.length, delays, statuses };
}

/**
 * Asks at intended moments, `rate` in a second, whether or not earlier answers are there. A delay counts from the intended
 * moment, so that what waits for a free client is not forgotten.
 */
export async function openLoop(
  all: readonly LoadClient[],
  make: () => Asked,
  rate: number,
  seconds: number,
): Promise<Loop> {
  const statuses = new Map<number, number>();
  const delays: number[] = [];
  const idle = [...all];
  const late: number[] = [];
  const running = new Set<Promise<void>>();
  const start = performance.now();
  const total = Math.round(rate * seconds);
  const faults: unknown[] = [];

  const ask = async (client: LoadClient, intended: number): Promise<void> => {
    for (let moment: number | undefined = intended; moment !== undefined; moment = late.shift()) {
      const { status } = check(await client.ask(make()));
      delays.push(performance.now() - moment);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    idle.push(client);
  };
  for (let sent = 0; sent < total && faults.length === 0;) {
    for (; sent < total && start + (sent * 1_000) / rate <= performance.now(); sent++) {
      const intended = start + (sent * 1_000) / rate;
      const client = idle.pop();
      if (client === undefined) {
        late.push(intended);
        continue;
      }
      const one = ask(client, intended)
        .catch((error: unknown) => void faults.push(error))
        .finally(() => running.delete(one));
      running.add(one);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(running);
  if (faults.length > 0) throw faults[0];
  return { done: delays.length, delays, statuses };
}
