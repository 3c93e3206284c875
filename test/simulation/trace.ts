/**
 * What happened, as a hash that two runs of a seed must share, and as lines when somebody wants to read it. What happens
 * all the time is mixed in as numbers; the rest as its text.
 */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Milliseconds } from '../../src/units.ts';

const plain = (_key: string, value: unknown): unknown => (value instanceof Map ? Object.fromEntries(value) : value);

const said = (event: FleetEvent): string =>
  event.kind === 'settings.replaced' ? event.kind : JSON.stringify(event, plain);

/** Words that come again and again, as numbers. */
class Words {
  readonly #numbers = new Map<string, number>();

  of(word: string): number {
    const known = this.#numbers.get(word);
    if (known !== undefined) return known;
    let number = 0x811c9dc5;
    for (let index = 0; index < word.length; index += 1) number = Math.imul(number ^ word.charCodeAt(index), 16777619);
    this.#numbers.set(word, number);
    return number;
  }
}

export class Trace {
  readonly #print: ((line: string) => void) | undefined;
  readonly #words = new Words();
  #high = 0x811c9dc5;
  #low = 0x4bf29ce4;

  constructor(print?: (line: string) => void) {
    this.#print = print;
  }

  note(now: Milliseconds, event: FleetEvent, effects: readonly FleetEffect[]): void {
    this.#mix(now | 0);
    this.#mix(Math.floor(now / 2 ** 32));
    this.#mixEvent(event);
    for (const effect of effects) this.#mixEffect(effect);
    if (!this.#print) return;
    this.#print(`${now}\t${said(event)}`);
    for (const effect of effects) this.#print(`\t\t${JSON.stringify(effect, plain)}`);
  }

  hash(): string {
    return [this.#high, this.#low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #mixEvent(event: FleetEvent): void {
    switch (event.kind) {
      case 'ticket.arrived':
        this.#word(event.kind);
        this.#text(event.id);
        this.#word(event.model);
        this.#word(event.keyId);
        return this.#mix(event.patience ?? -1);
      case 'ticket.abandoned':
      case 'lease.returned':
      case 'retry.asked':
        this.#word(event.kind);
        return this.#text(event.id);
      case 'lease.released':
        this.#word(event.outcome);
        return this.#text(event.id);
      case 'replica.checked': {
        this.#word(event.report.health);
        const { bytesMoved, countersMoved } = event.report;
        this.#mix((bytesMoved ? 4 : 0) + (countersMoved === null ? 2 : countersMoved ? 1 : 0));
        return this.#text(event.replica.id);
      }
      case 'time.passed':
        return this.#word(event.kind);
      default:
        this.#text(said(event));
    }
  }

  #mixEffect(effect: FleetEffect): void {
    this.#word(effect.kind);
    if ('id' in effect) this.#text(effect.id);
    if ('replica' in effect) {
      this.#text(effect.replica.id);
      this.#mix(effect.replica.generation);
    }
    if (effect.kind !== 'decision') return;
    this.#word(effect.decision.kind);
    if (effect.decision.model !== null) this.#word(effect.decision.model);
  }

  #word(word: string): void {
    this.#mix(this.#words.of(word));
  }

  #text(text: string): void {
    let value = 0x811c9dc5;
    for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 16777619);
    this.#mix(value);
  }

  #mix(value: number): void {
    this.#high = Math.imul(this.#high ^ value, 16777619);
    this.#low = Math.imul(this.#low ^ (value + 0x55), 0x01000193 ^ 0x2c);
  }
}
