/** What happened, as a hash that two runs of a seed must share, and as lines when somebody wants to read it. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';

const plain = (_key: string, value: unknown): unknown => (value instanceof Map ? Object.fromEntries(value) : value);

/** Words of an effect that say who it is about. */
function nameOf(effect: FleetEffect): string {
  if ('id' in effect) return effect.id;
  if ('replica' in effect) return `${effect.replica.id}/${effect.replica.generation}`;
  return effect.kind === 'decision' ? `${effect.decision.kind} ${effect.decision.model ?? ''}` : '';
}

export class Trace {
  readonly #print: ((line: string) => void) | undefined;
  #high = 0x811c9dc5;
  #low = 0xcbf29ce4;

  constructor(print?: (line: string) => void) {
    this.#print = print;
  }

  note(now: number, event: FleetEvent, effects: readonly FleetEffect[]): void {
    this.#add(`${now}|${event.kind === 'settings.replaced' ? event.kind : JSON.stringify(event, plain)}`);
    for (const effect of effects) this.#add(`${effect.kind} ${nameOf(effect)}`);
    if (!this.#print) return;
    const said = event.kind === 'settings.replaced' ? event.kind : JSON.stringify(event, plain);
    this.#print(`${now}\t${said}`);
    for (const effect of effects) this.#print(`\t\t${JSON.stringify(effect, plain)}`);
  }

  hash(): string {
    return [this.#high, this.#low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #add(text: string): void {
    let high = this.#high;
    let low = this.#low;
    for (let index = 0; index < text.length; index += 1) {
      const code = text.charCodeAt(index);
      high = Math.imul(high ^ code, 16777619);
      low = Math.imul(low ^ (code + 0x55), 0x01000193 ^ 0x2c);
    }
    this.#high = high;
    this.#low = low;
  }
}
