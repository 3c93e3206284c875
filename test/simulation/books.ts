/**
 * Double entry: every request stands on one account at any time, and each of its moves takes it from one and puts it on
 * another. What the core counts must be what stands on the account, after every event, for whom the event touched.
 */
import type { FleetState, Model } from '../../src/core/state.ts';
import type { Kernel } from './kernel.ts';

/** `new` only within the step of its arrival, `returned` within that of its return. */
export type Account = 'new' | 'waiting' | 'leased' | 'returned' | 'ended';

export interface Standing {
  readonly id: string;
  readonly model: string;
  state: Account;
  /** Of its lease; '' without one. */
  replica: string;
}

export class Books {
  readonly #kernel: Kernel;
  readonly #waiting = new Map<string, number>();
  readonly #leased = new Map<string, number>();
  readonly #touched: Standing[] = [];
  #received = 0;
  #ended = 0;
  #inLine = 0;
  #running = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get inFlight(): number {
    return this.#running;
  }

  leasedOn(replicaId: string): number {
    return this.#leased.get(replicaId) ?? 0;
  }

  open(): void {
    this.#received += 1;
  }

  /** From the account on which it stands. `replica`: of its lease, if it goes there. */
  move(standing: Standing, to: Account, replica = ''): void {
    this.#add(standing, standing.state, -1);
    const before = standing.replica;
    standing.state = to;
    standing.replica = replica;
    this.#add(standing, to, 1);
    this.#touched.push(standing);
    if (before !== '' && before !== replica && this.#leased.get(before) === 0) this.#leased.delete(before);
  }

  /** A new life of the gateway counts from nothing, once everybody has been told that the old one is over. */
  begin(): void {
    const left = this.#inLine + this.#running;
    this.#kernel.check('books', left === 0, () => `${left} requests of an earlier life stand on no account`);
    this.#touched.length = 0;
    this.#leased.clear();
    this.#received = 0;
    this.#ended = 0;
  }

  /** After a step. */
  agree(): void {
    const { state } = this.#kernel;
    const { tickets, leases, counters, grantable, settings } = state;
    if (tickets.size !== this.#inLine) this.#differ('tickets wait', tickets.size, this.#inLine);
    if (leases.size !== this.#running) this.#differ('leases run', leases.size, this.#running);
    if (counters.received !== this.#received) this.#differ('requests came', counters.received, this.#received);
    const ended = counters.refused + counters.abandoned + counters.released;
    if (ended !== this.#ended) this.#differ('requests ended', ended, this.#ended);
    if (grantable.size > 0 && leases.size < settings.limits.maxInFlight) {
      this.#kernel.fail('I-15', `${grantable.first()} could use one of the free leases`);
    }
    const touched = this.#touched;
    for (let index = 0; index < touched.length; index += 1) {
      const standing = touched[index];
      if (standing) this.#agreeOn(state, standing);
    }
    touched.length = 0;
  }

  /** At the very end every account is empty. */
  close(): void {
    const left = this.#inLine + this.#running;
    this.#kernel.check('books', left === 0, () => `${this.#inLine} still wait and ${this.#running} still run`);
    this.#kernel.check('books', this.#received === this.#ended, () => `${this.#received} came, ${this.#ended} ended`);
  }

  #agreeOn(state: FleetState, { model: name, replica: id }: Standing): void {
    const model = state.models.get(name);
    if (model) {
      const waiting = this.#waiting.get(name) ?? 0;
      if (model.queue.size !== waiting) this.#differ(`wait for ${name}`, model.queue.size, waiting);
      if (waiting > 0) this.#worksOn(state, model);
    }
    const replica = id === '' ? undefined : state.replicas.get(id);
    const leased = this.leasedOn(id);
    if (replica && replica.leases.size !== leased) this.#differ(`run on ${id}`, replica.leases.size, leased);
  }

  /** Nobody waits for a model that is ready, has a free slot, and could have a lease. */
  #worksOn(state: FleetState, model: Model): void {
    const replica = model.current === null ? undefined : state.replicas.get(model.current);
    if (replica?.phase !== 'ready' || replica.leases.size >= model.settings.maxConcurrent) return;
    if (!state.grantable.has(model.name))
      this.#kernel.fail('I-15', `${model.name} could use a lease and is not in line`);
  }

  #add({ model, replica }: Standing, account: Account, by: 1 | -1): void {
    switch (account) {
      case 'waiting':
        this.#inLine += by;
        this.#waiting.set(model, (this.#waiting.get(model) ?? 0) + by);
        return;
      case 'leased':
        this.#running += by;
        this.#leased.set(replica, (this.#leased.get(replica) ?? 0) + by);
        return;
      case 'ended':
        this.#ended += by;
        return;
      case 'new':
      case 'returned':
    }
  }

  #differ(what: string, core: number, books: number): never {
    return this.#kernel.fail('I-1', `${core} ${what} in the core, ${books} in the books`);
  }
}
