/** What a single step owes to those whom it concerns, worked out anew from what was said before it and after it. */
import type { Decision, FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent, FoundReplica } from '../../src/core/events.ts';
import type { Model, Replica, ReplicaRef } from '../../src/core/state.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { Kernel, Observer } from './kernel.ts';
import { couldFit, wishOf } from './refusals.ts';

/** So many looks in a row that an engine does not stand end it. */
const STRIKES = 3;

export class Obligations implements Observer {
  readonly #kernel: Kernel;
  /** Tickets that came back from an engine, of all lives. */
  readonly #returned = new Set<string>();
  /** Per replica: looks in a row at which it refused or was silent. */
  readonly #strikes = new Map<string, number>();
  /** Of everything that was launched, in whichever life. */
  readonly #generations = new Map<string, number>();
  #life = 0;
  /** Models in line for memory after the step before, longest waiting first, with the time since when. */
  readonly #line: { readonly name: string; readonly since: Milliseconds | null }[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void {
    const kernel: Kernel = this.#kernel;
    // A new gateway looks anew.
    if (this.#life !== kernel.life) this.#strikes.clear();
    this.#life = kernel.life;
    if ('replica' in event) this.#isOfToday(event.replica, effects);
    if (event.kind === 'time.passed') this.#nothingIsOverdue();
    if (event.kind === 'replica.checked') this.#isAlive(event);
    for (const effect of effects) {
      switch (effect.kind) {
        case 'ticket.queued':
          if (event.kind === 'lease.returned') this.#comesBack(effect.id);
          break;
        case 'retry.answered':
          if (effect.granted) this.#mayRetry(effect.id);
          break;
        case 'replica.adopt': {
          const found = event.kind === 'replica.found' && event.found.id === effect.replica.id ? event.found : null;
          kernel.check('I-91', found !== null, () => `${effect.replica.id} is adopted and was not found`);
          if (found) this.#mayBeAdopted(found);
          break;
        }
        case 'replica.launch':
          this.#generations.set(effect.replica.id, effect.replica.generation);
          kernel.check('I-88', !kernel.state.adopting, () => `${effect.replica.id} starts while others are looked for`);
          break;
        case 'decision':
          this.#decided(effect.decision);
          break;
        default:
      }
    }
    if (!quiet) this.#remember();
  }

  /** Who leaves the line in a quiet step is known by that it waits no longer. */
  #remember(): void {
    const { unplaced, models } = this.#kernel.state;
    this.#line.length = 0;
    if (unplaced.size === 0) return;
    for (const name of unplaced) this.#line.push({ name, since: models.get(name)?.unplacedSince ?? null });
  }

  #decided({ kind, model: name, replica: id }: Decision): void {
    const { state } = this.#kernel;
    const model = state.models.get(name ?? '');
    if (kind === 'model.backing_off') {
      const waiting = model?.queue.size ?? 0;
      this.#kernel.check('I-31', waiting === 0, () => `${name} failed and ${waiting} still wait for it`);
    }
    const replica = state.replicas.get(id ?? '');
    if (kind !== 'replica.reserved' || !model || !replica) return;
    this.#isSizedByItsOwn(model, replica);
    this.#passesNobody(model, replica);
  }

  #nothingIsOverdue(): void {
    const { state, now } = this.#kernel;
    const next = state.deadlines.next() ?? Infinity;
    this.#kernel.check('I-76', next >= now, () => `a deadline was due at ${next} and is still to come`);
  }

  /** The list of deadlines is a heap: its first is the earliest. */
  recount(): void {
    const { deadlines } = this.#kernel.state;
    const next = deadlines.next() ?? Infinity;
    for (const key of deadlines.keys()) {
      const at = deadlines.at(key) ?? Infinity;
      this.#kernel.check('I-76', at >= next, () => `${key} is due at ${at}, the first at ${next}`);
    }
  }

  #isAlive({ replica: { id }, report }: Extract<FleetEvent, { kind: 'replica.checked' }>): void {
    const moved = report.bytesMoved || report.countersMoved === true;
    const bad = report.health === 'refused' || report.health === 'unavailable' || (report.health === 'slow' && !moved);
    const phase = this.#kernel.state.replicas.get(id)?.phase;
    if (!bad || phase !== 'ready') return void this.#strikes.delete(id);
    const count = (this.#strikes.get(id) ?? 0) + 1;
    this.#strikes.set(id, count);
    // Refusing and being silent are counted apart.
    const most = 2 * STRIKES - 2;
    this.#kernel.check('health', count <= most, () => `${id} has not answered ${count} times and is still ready`);
  }

  /** Word of an earlier generation changes nothing. */
  #isOfToday({ id, generation }: ReplicaRef, effects: readonly FleetEffect[]): void {
    const known = this.#generations.get(id);
    const heard = known !== undefined && known !== generation && effects.length > 0;
    this.#kernel.check('I-18', !heard, () => `word of ${id}/${generation} is taken for one of ${id}/${known}`);
  }

  #comesBack(id: string): void {
    this.#kernel.check('I-74', !this.#returned.has(id), () => `${id} comes back a second time`);
    this.#returned.add(id);
  }

  #mayRetry(id: string): void {
    const { state } = this.#kernel;
    const lease = state.leases.get(id);
    this.#kernel.check('I-73', lease?.cut === false, () => `${id} is to end and may try again`);
    this.#kernel.check('I-73', state.shutdown === null, () => `${id} may try again during shutdown`);
  }

  #mayBeAdopted({ id, usable, specHash, model }: FoundReplica): void {
    const wanted = this.#kernel.state.models.get(model)?.settings.specHash;
    this.#kernel.check('I-91', usable === true, () => `${id} is adopted: ${usable}`);
    this.#kernel.check('I-91', specHash === wanted, () => `${id} is adopted with ${specHash}, wanted is ${wanted}`);
  }

  /** What was seen of another configuration says nothing about this one. */
  #isSizedByItsOwn(model: Model, replica: Replica): void {
    const { settings, footprints } = model;
    if (settings.memory !== null || replica.reservations.size === 0) return;
    const { kvCacheBytes } = replica.share;
    const own = footprints.filter(({ signature }) => signature.specHash === settings.specHash);
    const others = footprints.filter(({ signature }) => signature.specHash !== settings.specHash);
    for (const [id, bytes] of replica.reservations) {
      const seen = others.some(({ steadyBytes }) => steadyBytes === bytes);
      const fine = own.length > 0 || !seen || this.#wouldBe(model, id, bytes);
      this.#kernel.check('I-46', fine, () => `${replica.id} is promised what another configuration took on ${id}`);
    }
    const told = kvCacheBytes === null || own.some((footprint) => footprint.kvCacheBytes === kvCacheBytes);
    this.#kernel.check('I-46', told, () => `${replica.id} is told the KV cache of another configuration`);
  }

  /** Nobody has seen it, and it would be promised this in any case. */
  #wouldBe(model: Model, id: string, bytes: number): boolean {
    const { state } = this.#kernel;
    const device = state.devices.get(id);
    if (!device) return false;
    const room = Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes);
    return Math.abs(wishOf(state, model, device, room).steady - bytes) <= 2;
  }

  /** Whoever waits longer and could be placed some day still can. */
  #passesNobody(model: Model, replica: Replica): void {
    const { state } = this.#kernel;
    for (const { name, since } of this.#line) {
      if (name === model.name) return;
      const ahead = state.models.get(name);
      if (!ahead || ahead.unplacedSince === null || ahead.unplacedSince !== since) continue;
      const without = { before: replica, openOnly: true };
      const harmed = couldFit(state, ahead, without) && !couldFit(state, ahead, { ...without, taken: replica });
      this.#kernel.check('I-10', !harmed, () => `${replica.id} takes what ${name} has waited for longer`);
    }
  }
}
