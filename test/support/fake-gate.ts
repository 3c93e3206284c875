/** A gate whose decisions a test makes: it grants at once, holds, or refuses, and notes how every lease ended. */
import type { Ask, Gate, Lease, QueueFacts, Refusal, Ticket, TicketSink, Upstream } from '../../src/controller/gate.ts';
import type { LeaseOutcome } from '../../src/core/events.ts';
import type { ComingStart } from '../../src/core/lifecycle/forecast.ts';
import type { GatewayError } from '../../src/errors.ts';

export class FakeLease implements Lease {
  readonly kind = 'lease';
  readonly id: string;
  readonly model: string;
  readonly replicaId: string;
  readonly generation = 1;
  readonly upstream: Upstream;
  readonly queuedMs = 12;
  readonly coldStartMs = 34;
  readonly gate: FakeGate;
  readonly sink: TicketSink;
  touched = 0;
  retriesAsked = 0;
  outcome: LeaseOutcome | 'returned' | null = null;

  constructor(gate: FakeGate, ask: Ask, sink: TicketSink, upstream: Upstream) {
    this.gate = gate;
    this.sink = sink;
    this.id = ask.id;
    this.model = ask.model;
    this.replicaId = upstream.id;
    this.upstream = upstream;
  }

  get alive(): boolean {
    return this.outcome === null && this.gate.alive;
  }

  touch(): void {
    this.touched++;
  }

  mayRetry(answer: (may: boolean) => void): void {
    this.retriesAsked++;
    const may = this.gate.retryBudget > 0;
    if (may) this.gate.retryBudget--;
    answer(may);
  }

  giveBack(): Lease | Ticket | Refusal {
    this.outcome = 'returned';
    return this.gate.onGiveBack(this);
  }

  release(outcome: LeaseOutcome): void {
    if (this.outcome !== null) return;
    this.outcome = outcome;
    this.gate.released();
  }
}

export interface Waiting {
  readonly ask: Ask;
  readonly sink: TicketSink;
  abandoned: boolean;
  /** Told something already. */
  over: boolean;
}

export class FakeGate implements Gate {
  accepting = true;
  alive = true;
  retryBudget = 1_000;
  upstream: Upstream;
  facts: QueueFacts = { depth: 0, maxQueueSize: 200, maxConcurrent: 50 };
  coming: ComingStart | null = null;
  /** What acquire() does; the default grants. */
  decide: (ask: Ask) => 'grant' | 'wait' | GatewayError = () => 'grant';
  /** What giveBack() does; the default waits. */
  onGiveBack: (lease: FakeLease) => Lease | Ticket | Refusal = (lease) => this.wait(this.askOf(lease.id), lease.sink);
  readonly asks: Ask[] = [];
  readonly leases: FakeLease[] = [];
  readonly waiting: Waiting[] = [];
  readonly #asks = new Map<string, Ask>();
  #watchers: (() => void)[] = [];

  constructor(upstream: Upstream) {
    this.upstream = upstream;
  }

  get openLeases(): number {
    return this.leases.filter((lease) => lease.outcome === null).length;
  }

  acquire(ask: Ask, sink: TicketSink): Lease | Ticket | Refusal {
    this.asks.push(ask);
    this.#asks.set(ask.id, ask);
    const decision = this.decide(ask);
    try {
      if (decision === 'grant') return this.lease(ask, sink);
      if (decision === 'wait') return this.wait(ask, sink);
      return { kind: 'refused', error: decision };
    } finally {
      this.#changed();
    }
  }

  comingStart(): ComingStart | null {
    return this.coming;
  }

  queueFacts(): QueueFacts {
    return this.facts;
  }

  askOf(id: string): Ask {
    const ask = this.#asks.get(id);
    if (ask === undefined) throw new Error(`nobody asked with id ${id}`);
    return ask;
  }

  lease(ask: Ask, sink: TicketSink): FakeLease {
    const lease = new FakeLease(this, ask, sink, this.upstream);
    this.leases.push(lease);
    return lease;
  }

  wait(ask: Ask, sink: TicketSink): Ticket {
    const waiting: Waiting = { ask, sink, abandoned: false, over: false };
    this.waiting.push(waiting);
    this.#changed();
    return {
      kind: 'ticket',
      id: ask.id,
      abandon: () => {
        waiting.abandoned = true;
        waiting.over = true;
        this.#changed();
      },
    };
  }

  /** Grants the oldest waiting request. */
  grantNext(): FakeLease {
    const waiting = this.#next();
    const lease = this.lease(waiting.ask, waiting.sink);
    waiting.sink.granted(lease);
    return lease;
  }

  refuseNext(error: GatewayError): void {
    this.#next().sink.refused(error);
  }

  cut(error: GatewayError): void {
    for (const lease of this.leases) if (lease.outcome === null) lease.sink.cut(error);
  }

  /** Resolves when the condition holds; looked at whenever something happens at the gate. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers = this.#watchers.filter((watcher) => watcher !== look);
        resolve();
      };
      this.#watchers.push(look);
    });
  }

  released(): void {
    this.#changed();
  }

  #next(): Waiting {
    const waiting = this.waiting.find((candidate) => !candidate.over);
    if (waiting === undefined) throw new Error('nobody waits');
    waiting.over = true;
    return waiting;
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
  }
}
