/** Both ends of the gate, with what each says held back until the test lets it pass: every crossing can be shown. */
import { describe, expect, it } from 'vitest';
import type { Ask, Lease, Ticket, TicketSink, Upstream } from '../controller/gate.ts';
import { gatewayError, type GatewayError } from '../errors.ts';
import type { Random } from '../platform/platform.ts';
import { FakeGate, type FakeLease } from '../../test/support/fake-gate.ts';
import { SeededRandom } from '../../test/support/test-platform.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import { RemoteGate } from './remote-gate.ts';
import { WorkerDesk } from './worker-desk.ts';

const UPSTREAM: Upstream = {
  ...{ id: 'm-1', origin: 'http://127.0.0.1:20001', pathPrefix: '', headers: {}, servedName: 'm' },
  ...{ connections: 8, idleLimit: 4_000, external: false },
};

class Asker implements TicketSink {
  readonly told: string[] = [];
  lease: Lease | null = null;

  granted(lease: Lease): void {
    this.lease = lease;
    this.told.push('granted');
  }

  refused(error: { readonly code: string }, atOnce?: boolean): void {
    this.told.push(`refused ${error.code}${atOnce === true ? ' at once' : ''}`);
  }

  cut(error: { readonly code: string }): void {
    this.told.push(`cut ${error.code}`);
  }
}

const ask = (id: string): Ask => ({ id, model: 'm', keyId: 'app', stream: false, patience: null });

class Bench {
  readonly fake = new FakeGate(UPSTREAM);
  readonly toWorker: ToWorker[] = [];
  readonly fromWorker: FromWorker[] = [];
  readonly #cut = new Set<FakeLease>();
  readonly desk = new WorkerDesk({
    gate: this.fake,
    workers: 3,
    say: (message) => void this.toWorker.push(message),
    startOf: () => undefined,
    saidDepth: () => undefined,
    clock: { monotonic: () => 0 },
  });
  readonly gate = new RemoteGate((message) => void this.fromWorker.push(message));

  constructor() {
    this.gate.setQueues(new Map([['m', { depth: 0, maxQueueSize: 200, maxConcurrent: 50 }]]));
  }

  /** What the worker said arrives, as it would over a link: copied. */
  toController(): void {
    for (const message of this.fromWorker.splice(0)) expect(this.desk.hear(copy(message))).toBe(true);
  }

  toGate(): void {
    for (const message of this.toWorker.splice(0)) this.gate.hear(copy(message));
  }

  oneToController(): void {
    const message = this.fromWorker.shift();
    if (message) expect(this.desk.hear(copy(message))).toBe(true);
  }

  oneToGate(): void {
    const message = this.toWorker.shift();
    if (message) this.gate.hear(copy(message));
  }

  /** As the core does: each lease once. */
  cutAll(error: GatewayError): void {
    for (const lease of this.fake.leases) {
      if (lease.outcome !== null || this.#cut.has(lease)) continue;
      this.#cut.add(lease);
      lease.sink.cut(error);
    }
  }

  settle(): void {
    while (this.fromWorker.length + this.toWorker.length > 0) {
      this.toController();
      this.toGate();
    }
  }

  granted(id: string): Asker {
    const asker = new Asker();
    this.gate.acquire(ask(id), asker);
    this.settle();
    expect(asker.told).toEqual(['granted']);
    return asker;
  }

  /** Nobody waits or holds anything, on either side. */
  expectNothingLeft(): void {
    this.settle();
    expect([this.gate.size, this.desk.leases, this.desk.waiting, this.fake.openLeases]).toEqual([0, 0, 0, 0]);
    expect(this.fake.waiting.filter(({ over }) => !over)).toEqual([]);
  }
}

function copy<T>(message: T): T {
  return JSON.parse(JSON.stringify(message)) as T;
}

describe('a gate over a link', () => {
  it('grants, tells the upstream once and anew when it changes, and takes the lease back with its outcome', () => {
    const bench = new Bench();
    const first = bench.granted('a');
    expect(first.lease).toMatchObject({ model: 'm', replicaId: 'm-1', alive: true });
    expect(first.lease?.upstream).toEqual({ ...UPSTREAM, idleConnections: 3 });
    bench.gate.acquire(ask('b'), new Asker());
    bench.toController();
    expect(bench.toWorker).toMatchObject([{ kind: 'granted', lease: { replicaId: 'm-1' } }]);
    expect(bench.toWorker[0]).not.toHaveProperty('lease.upstream');
    bench.toGate();
    bench.fake.upstream = { ...UPSTREAM, headers: { authorization: 'Bearer another' } };
    const third = bench.granted('c');
    expect(third.lease?.upstream.headers).toEqual({ authorization: 'Bearer another' });
    // As in one process: what is open follows.
    expect(first.lease?.upstream).toBe(third.lease?.upstream);
    // The controller's own changes in place too.
    Object.assign(bench.fake.upstream, { connections: 30 });
    Object.assign(bench.fake.upstream.headers, { authorization: 'Bearer a third' });
    expect(bench.granted('d').lease?.upstream).toMatchObject({
      ...{ connections: 30, idleConnections: 10, headers: { authorization: 'Bearer a third' } },
    });
    first.lease?.release('completed');
    first.lease?.release('internal');
    bench.settle();
    expect(bench.fake.leases[0]?.outcome).toBe('completed');
    expect(bench.desk.leases).toBe(3);
    bench.desk.lost('internal');
    expect(bench.fake.leases.map(({ outcome }) => outcome)).toEqual(['completed', 'internal', 'internal', 'internal']);
  });

  it('says at once that a lease has ended where somebody waits or would be turned away, else with what is asked next', () => {
    const calms: (boolean | undefined)[] = [];
    const gate = new RemoteGate((message, calm) => message.kind === 'release' && calms.push(calm));
    const lease = { model: 'm', replicaId: 'm-1', generation: 1, upstream: UPSTREAM, queuedMs: 0, coldStartMs: 0 };
    const facts = { depth: 0, maxQueueSize: 200, maxConcurrent: 1 };
    gate.setQueues(new Map([['m', facts]]));
    for (const one of [facts, { ...facts, depth: 1 }, { ...facts, maxQueueSize: 0 }]) {
      const asker = new Asker();
      gate.acquire(ask('a'), asker);
      gate.hear({ kind: 'granted', id: 'a', lease, facts: one });
      asker.lease?.release('completed');
    }
    expect(calms).toEqual([true, false, false]);
  });

  it('takes back what was granted while its client left', () => {
    const bench = new Bench();
    bench.fake.decide = () => 'wait';
    const asker = new Asker();
    const ticket = bench.gate.acquire(ask('a'), asker);
    bench.settle();
    bench.fake.grantNext();
    ticket.abandon();
    bench.settle();
    expect(asker.told).toEqual([]);
    expect(bench.fake.leases.map(({ outcome }) => outcome)).toEqual(['client_closed']);
    bench.expectNothingLeft();
  });

  it('does not cut a request that was given back while the word was under way', () => {
    const bench = new Bench();
    const asker = bench.granted('a');
    const error = gatewayError('drain_timeout', 'It had to leave.');
    bench.fake.cut(error);
    expect(asker.lease?.giveBack()).toMatchObject({ kind: 'ticket' });
    bench.settle();
    expect(asker.told).toEqual(['granted']);
    bench.fake.grantNext();
    bench.settle();
    expect(asker.told).toEqual(['granted', 'granted']);
    bench.fake.cut(error);
    bench.settle();
    expect(asker.told).toEqual(['granted', 'granted', 'cut drain_timeout']);
    asker.lease?.release('shutdown');
    bench.expectNothingLeft();
  });

  it('tells a refusal that answers a request given back from one that comes later', () => {
    const bench = new Bench();
    const error = gatewayError('upstream_lost', 'It went away.');
    const [first, second] = [bench.granted('a'), bench.granted('b')];
    bench.fake.onGiveBack = () => ({ kind: 'refused', error });
    first.lease?.giveBack();
    bench.settle();
    expect(first.told).toEqual(['granted', 'refused upstream_lost at once']);
    bench.fake.onGiveBack = (lease) => bench.fake.wait(bench.fake.askOf(lease.id), lease.sink);
    second.lease?.giveBack();
    bench.settle();
    bench.fake.refuseNext(error);
    bench.settle();
    expect(second.told).toEqual(['granted', 'refused upstream_lost']);
    bench.expectNothingLeft();
  });

  it('asks for another attempt where the budget is, and not once the replica has left', () => {
    const bench = new Bench();
    const asker = bench.granted('a');
    const answers: boolean[] = [];
    bench.fake.retryBudget = 1;
    for (let count = 0; count < 2; count += 1) {
      asker.lease?.mayRetry((may) => answers.push(may));
      bench.settle();
    }
    expect(answers).toEqual([true, false]);
    bench.gate.hear({ kind: 'left', replicaId: 'm-1', generation: 99 });
    expect(asker.lease?.alive).toBe(true);
    bench.gate.hear({ kind: 'left', replicaId: 'm-1', generation: asker.lease?.generation ?? 0 });
    expect(asker.lease?.alive).toBe(false);
    asker.lease?.release('upstream_failed');
    asker.lease?.mayRetry((may) => answers.push(may));
    expect(answers).toEqual([true, false, false]);
    bench.expectNothingLeft();
  });

  it('ends all that a dead worker asked for: who waits first, then what runs', () => {
    const bench = new Bench();
    bench.granted('a');
    bench.fake.decide = () => 'wait';
    bench.gate.acquire(ask('b'), new Asker());
    bench.toController();
    expect([bench.desk.leases, bench.desk.waiting]).toEqual([1, 1]);
    const order: string[] = [];
    void bench.fake.until(() => {
      order.push(
        bench.fake.waiting[0]?.abandoned === true ? 'abandoned' : 'waits',
        String(bench.fake.leases[0]?.outcome),
      );
      return false;
    });
    order.length = 0;
    bench.desk.lost('internal');
    expect(order).toEqual(['abandoned', 'null', 'abandoned', 'internal']);
    expect([bench.desk.leases, bench.desk.waiting, bench.fake.openLeases]).toEqual([0, 0, 0]);
  });

  it('says what the queue looked like when it was last spoken of', () => {
    const bench = new Bench();
    expect(bench.gate.queueFacts('m')).toEqual({ depth: 0, maxQueueSize: 200, maxConcurrent: 50 });
    bench.fake.facts = { depth: 7, maxQueueSize: 100, maxConcurrent: 50 };
    bench.fake.decide = () => gatewayError('queue_full', 'Enough.');
    const asker = new Asker();
    bench.gate.acquire(ask('a'), asker);
    bench.settle();
    expect(asker.told).toEqual(['refused queue_full at once']);
    expect(bench.gate.queueFacts('m')).toEqual(bench.fake.facts);
    expect(bench.gate.queueFacts('never heard of')).toEqual({ depth: 0, maxQueueSize: 0, maxConcurrent: 0 });
    bench.expectNothingLeft();
  });
});

/** Does with its lease what requests do, whenever it is told to act; hears nothing out of turn. */
class Wanderer implements TicketSink {
  readonly #random: Random;
  #phase: 'waits' | 'runs' | 'over' = 'waits';
  #ticket: Ticket;
  #lease: Lease | null = null;
  #cut = false;

  constructor(gate: RemoteGate, id: string, random: Random) {
    this.#random = random;
    this.#ticket = gate.acquire(ask(id), this);
  }

  granted(lease: Lease): void {
    expect(this.#phase).toBe('waits');
    [this.#phase, this.#lease, this.#cut] = ['runs', lease, false];
  }

  refused(): void {
    expect(this.#phase).toBe('waits');
    this.#phase = 'over';
  }

  cut(): void {
    expect([this.#phase, this.#cut]).toEqual(['runs', false]);
    this.#cut = true;
  }

  act(end: boolean): void {
    const choice = end ? 0 : this.#random.next();
    if (this.#phase === 'waits') {
      if (choice > 0.2) return;
      this.#ticket.abandon();
      this.#phase = 'over';
    } else if (this.#phase === 'runs' && this.#lease !== null) {
      if (choice < 0.4 || this.#cut) this.#end('completed', this.#lease);
      else if (choice < 0.7) this.#giveBack(this.#lease);
      else this.#askRetry(this.#lease);
    }
  }

  #end(outcome: 'completed', lease: Lease): void {
    lease.release(outcome);
    [this.#phase, this.#lease] = ['over', null];
  }

  #giveBack(lease: Lease): void {
    const next = lease.giveBack();
    if (next.kind !== 'ticket') throw new Error(`given back over a link it is a ticket, not a ${next.kind}`);
    [this.#ticket, this.#phase, this.#lease] = [next, 'waits', null];
  }

  #askRetry(lease: Lease): void {
    lease.mayRetry(() => expect([this.#phase, this.#lease]).toEqual(['runs', lease]));
  }
}

describe('both ends of the gate, whatever crosses on the way', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('agree in the end about who waits and who runs: seed %i', (seed) => {
    const random = new SeededRandom(seed);
    const bench = new Bench();
    const wanderers: Wanderer[] = [];
    const error = gatewayError('upstream_lost', 'It went away.');
    bench.fake.decide = () => (random.next() < 0.5 ? 'wait' : random.next() < 0.8 ? 'grant' : error);
    const steps: readonly (() => void)[] = [
      () => void wanderers.push(new Wanderer(bench.gate, `r${wanderers.length}`, random)),
      () => wanderers[Math.floor(random.next() * wanderers.length)]?.act(false),
      () => wanderers[Math.floor(random.next() * wanderers.length)]?.act(false),
      () => bench.oneToController(),
      () => bench.oneToController(),
      () => bench.oneToGate(),
      () => bench.oneToGate(),
      () => bench.fake.waiting.some(({ over }) => !over) && bench.fake.grantNext(),
      () => bench.fake.waiting.some(({ over }) => !over) && random.next() < 0.2 && bench.fake.refuseNext(error),
      () => random.next() < 0.05 && bench.cutAll(error),
    ];
    for (let count = 0; count < 3_000; count += 1) steps[Math.floor(random.next() * steps.length)]?.();
    expect(wanderers.length).toBeGreaterThan(200);
    bench.settle();
    for (const wanderer of wanderers) wanderer.act(true);
    bench.expectNothingLeft();
  });
});
