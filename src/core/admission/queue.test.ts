import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Ticket } from '../state.ts';
import { TicketQueue } from './queue.ts';

let count = 0;

function ticket(keyId: string, over: Partial<Ticket> = {}): Ticket {
  count += 1;
  return {
    id: `t${count}`,
    model: 'm',
    keyId,
    arrivedAt: count,
    order: count,
    patienceUntil: null,
    stream: false,
    configVersion: 1,
    returned: false,
    coldClockAtArrival: 0,
    queueClockAtArrival: 0,
    ...over,
  };
}

/** Lists of lists, searched from end to end. */
class NaiveQueue {
  turns: string[] = [];
  waiting: Ticket[] = [];

  push(it: Ticket): void {
    if (!this.turns.includes(it.keyId)) this.turns.push(it.keyId);
    this.waiting.push(it);
  }

  putBack(it: Ticket): void {
    this.turns = [it.keyId, ...this.turns.filter((key) => key !== it.keyId)];
    const place = this.waiting.findIndex((other) => !other.returned || other.order > it.order);
    this.waiting.splice(place < 0 ? this.waiting.length : place, 0, it);
  }

  shift(): Ticket | undefined {
    const [key] = this.turns;
    if (key === undefined) return undefined;
    const own = this.waiting.filter((it) => it.keyId === key).toSorted((one, other) => one.order - other.order);
    const [first] = own;
    if (!first) return undefined;
    this.turns = [...this.turns.slice(1), key];
    this.delete(first);
    return first;
  }

  delete(it: Ticket): boolean {
    const there = this.waiting.includes(it);
    this.waiting = this.waiting.filter((other) => other !== it);
    if (!this.waiting.some((other) => other.keyId === it.keyId))
      this.turns = this.turns.filter((key) => key !== it.keyId);
    return there;
  }
}

const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('push' as const), key: fc.constantFrom('a', 'b', 'c') }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'shift' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), index: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('put back' as const), index: fc.nat(20) }) },
);

describe('TicketQueue', () => {
  it('behaves like lists searched from end to end, whatever is done to it', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const queue = new TicketQueue();
        const naive = new NaiveQueue();
        const taken: Ticket[] = [];
        for (const it of commands) {
          if (it.kind === 'push') {
            const made = ticket(it.key);
            queue.push(made);
            naive.push(made);
          } else if (it.kind === 'shift') {
            const got = queue.shift();
            expect(got).toBe(naive.shift());
            if (got && !got.returned) taken.push(got);
          } else if (it.kind === 'delete') {
            const victim = naive.waiting[it.index];
            if (victim) expect(queue.delete(victim)).toBe(naive.delete(victim));
          } else {
            const [back] = taken.splice(it.index, 1);
            if (!back) continue;
            const returned = { ...back, returned: true };
            queue.putBack(returned);
            naive.putBack(returned);
          }
          expect([...queue]).toEqual(naive.waiting);
          expect(queue.oldest()).toBe(naive.waiting[0]);
          expect(queue.size).toBe(naive.waiting.length);
          expect(queue.recount()).toBeNull();
        }
      }),
    );
  });

  it('[items 37, 38] serves keys in turn and each key in order, so that a crowd of one key keeps nobody out', () => {
    const queue = new TicketQueue();
    for (let number = 0; number < 100; number += 1) queue.push(ticket('crowd', { id: `crowd-${number}` }));
    queue.push(ticket('one', { id: 'one-0' }));
    queue.push(ticket('two', { id: 'two-0' }));
    queue.push(ticket('one', { id: 'one-1' }));
    const order = Array.from({ length: 6 }, () => queue.shift()?.id);
    expect(order).toEqual(['crowd-0', 'one-0', 'two-0', 'crowd-1', 'one-1', 'crowd-2']);
  });

  it('is first come first served without keys', () => {
    const queue = new TicketQueue();
    const all = Array.from({ length: 50 }, () => ticket('anonymous'));
    for (const it of all) queue.push(it);
    expect(all.map(() => queue.shift())).toEqual(all);
    expect(queue.shift()).toBeUndefined();
  });

  it('[item 31] forgets a ticket once: the second time changes nothing', () => {
    const queue = new TicketQueue();
    const it = ticket('a');
    queue.push(it);
    expect(queue.delete(it)).toBe(true);
    expect(queue.delete(it)).toBe(false);
    expect(queue.size).toBe(0);
  });
});
