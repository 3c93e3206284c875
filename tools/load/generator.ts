/**
 * Open-loop load: every request has a moment at which it is meant to go out, whatever became of the others, and delays are
 * counted from that moment. Knows at any time what is under way.
 */
import { CHAT, endOf, question, type Wish } from './question.ts';
import { type ConnectionPool, type Leave } from './connection.ts';

export interface Planned extends Wish {
  /** Milliseconds after the beginning of its batch. */
  readonly at: number;
  readonly leave: Leave | null;
}

export interface Result {
  readonly model: string;
  readonly end: string;
  /** Of `performance.now()`. */
  readonly meantAt: number;
  readonly sentAt: number;
  readonly firstAt: number | null;
  readonly endAt: number;
  /** As the gateway says in `x-vgw-queue-ms`; null when it does not. */
  readonly queueMs: number | null;
  readonly connectionClosed: boolean;
}

export class Generator {
  /** By model: sent whole and without an end. Requests that will never be whole are not among them. */
  readonly underWay = new Map<string, number>();
  /** Of those, on a connection that the gateway may not have accepted yet. */
  readonly unproven = new Map<string, number>();
  /** Changes whenever one of the two does. */
  readonly changes = new Map<string, number>();
  sent = 0;
  /** Milliseconds by which a request went out later than it was meant to. */
  readonly lateness: number[] = [];
  /** Not sent, because so many of its model were under way. */
  heldBack = 0;
  /** Most under way of one model. */
  cap = Infinity;
  readonly pool: ConnectionPool;

  constructor(pool: ConnectionPool) {
    this.pool = pool;
  }

  async one(wish: Wish, leave: Leave | null = null, meantAt = performance.now()): Promise<Result> {
    const asked = question(wish);
    const counts = leave?.after !== 'body';
    this.sent += 1;
    const release = counts ? this.count(this.underWay, wish.model) : () => undefined;
    let proven: () => void = () => undefined;
    const received = await this.pool.ask({
      ...{ method: 'POST', path: CHAT, body: asked.body, leave },
      onFresh: () => {
        if (counts) proven = this.count(this.unproven, wish.model);
      },
      onFirst: () => proven(),
    });
    proven();
    release();
    const queueMs = received.headers.get('x-vgw-queue-ms');
    return {
      model: wish.model,
      end: endOf(asked, received),
      meantAt,
      sentAt: received.sentAt,
      firstAt: received.firstAt,
      endAt: received.endAt,
      queueMs: queueMs === undefined ? null : Number(queueMs),
      connectionClosed: received.headers.get('connection') === 'close',
    };
  }

  /** Sends each at its moment and hands on each result. Resolves when all have ended. */
  async run(planned: Iterable<Planned>, use: (result: Result, planned: Planned) => void): Promise<void> {
    const beganAt = performance.now();
    const ends = new Set<Promise<void>>();
    for (const next of planned) {
      const meantAt = beganAt + next.at;
      const wait = meantAt - performance.now();
      if (wait > 1) await pause(wait);
      if ((this.underWay.get(next.model) ?? 0) >= this.cap) {
        this.heldBack += 1;
        continue;
      }
      if (this.lateness.length < 200_000) this.lateness.push(Math.max(0, performance.now() - meantAt));
      const end = this.one(next, next.leave, meantAt).then((result) => {
        ends.delete(end);
        use(result, next);
      });
      ends.add(end);
    }
    await Promise.all(ends);
  }

  /** One more, until the returned function is called; calling it again changes nothing. */
  private count(counts: Map<string, number>, model: string): () => void {
    const change = (by: number): void => {
      counts.set(model, (counts.get(model) ?? 0) + by);
      this.changes.set(model, (this.changes.get(model) ?? 0) + 1);
    };
    let counted = true;
    change(1);
    return () => {
      if (counted) change(-1);
      counted = false;
    };
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Moments of a Poisson process, in milliseconds: `rate` per second for `seconds`. */
export function* poisson(rate: number, seconds: number, random: () => number): Iterable<number> {
  let at = 0;
  for (;;) {
    at += (-Math.log(1 - random()) / rate) * 1_000;
    if (at >= seconds * 1_000) return;
    yield at;
  }
}

/** Evenly spaced moments. */
export function* steady(rate: number, count: number): Iterable<number> {
  for (let index = 0; index < count; index += 1) yield (index * 1_000) / rate;
}
