import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadlines } from './deadlines.ts';

interface Entry {
  readonly key: string;
  readonly at: number;
  readonly order: number;
}

/** The same, as a list that is sorted anew each time. */
class SortedDeadlines {
  #entries: Entry[] = [];
  #order = 0;

  set(key: string, at: number): void {
    if (this.#entries.some((entry) => entry.key === key && entry.at === at)) return;
    this.delete(key);
    this.#order += 1;
    this.#entries.push({ key, at, order: this.#order });
    this.#entries.sort((one, other) => one.at - other.at || one.order - other.order);
  }

  delete(key: string): void {
    this.#entries = this.#entries.filter((entry) => entry.key !== key);
  }

  at(key: string): number | undefined {
    return this.#entries.find((entry) => entry.key === key)?.at;
  }

  takeDue(now: number): string | null {
    const [first] = this.#entries;
    if (!first || first.at > now) return null;
    this.delete(first.key);
    return first.key;
  }

  get all(): readonly Entry[] {
    return this.#entries;
  }
}

const key = fc.integer({ min: 0, max: 15 }).map((number) => `k${number}`);
const time = fc.integer({ min: 0, max: 20 });
const command = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), key, at: time }),
  fc.record({ kind: fc.constant('delete' as const), key }),
  fc.record({ kind: fc.constant('take' as const), now: time }),
);

describe('Deadlines', () => {
  it('come due in order of time, equal ones in the order in which they were set, whatever was moved or dropped', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
        const deadlines = new Deadlines();
        const model = new SortedDeadlines();
        for (const it of commands) {
          if (it.kind === 'set') {
            deadlines.set(it.key, it.at);
            model.set(it.key, it.at);
          } else if (it.kind === 'delete') {
            deadlines.delete(it.key);
            model.delete(it.key);
          } else {
            expect(deadlines.takeDue(it.now)).toBe(model.takeDue(it.now));
          }
          expect(deadlines.size).toBe(model.all.length);
          expect(deadlines.next()).toBe(model.all[0]?.at ?? null);
          expect([...deadlines.keys()].toSorted()).toEqual(model.all.map((entry) => entry.key).toSorted());
          for (const { key, at } of model.all) expect(deadlines.at(key)).toBe(at);
        }
      }),
    );
  });

  it('know nothing of a name that was never set', () => {
    const deadlines = new Deadlines();
    deadlines.delete('x');
    expect(deadlines.at('x')).toBeUndefined();
    expect(deadlines.next()).toBeNull();
    expect(deadlines.takeDue(Infinity)).toBeNull();
  });
});
