/** The proxy and the people behind it: requests that come, wait, run, break, are tried again, and go away in any phase. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { LeaseOutcome } from '../../src/core/events.ts';
import type { GatewayError } from '../../src/errors.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { Engines } from './engines.ts';
import type { Kernel } from './kernel.ts';
import { Random } from './random.ts';
import type { ClosedLoopIntent, OpenLoopIntent, RequestIntent, Scenario } from './scenario.ts';

/** How a request ended for its client. */
export interface Answer {
  readonly kind: 'completed' | 'left' | 'broken' | 'refused' | 'cut' | 'gateway_died';
  readonly error: GatewayError | null;
  readonly tookMs: Milliseconds;
}

interface Request {
  readonly id: string;
  readonly model: string;
  readonly workMs: Milliseconds;
  readonly arrivedAt: Milliseconds;
  connectFailures: number;
  phase: 'waiting' | 'leased' | 'over';
  /** Id of the replica that it runs on. */
  replica: string | null;
  /** Counts grants: what was meant for an earlier one is void. */
  turn: number;
  /** When its first byte comes, if the engine goes on till then. */
  firstByteAt: Milliseconds;
  readonly onEnd: (answer: Answer) => void;
}

/** How long a broken connection waits for the news that its engine is gone. */
const EXIT_GRACE = 600;

export type Ask = Pick<RequestIntent, 'model' | 'key' | 'workMs' | 'patience' | 'leavesAfter' | 'connectFailures'>;

export class Clients {
  /** Told of every answer. */
  answered: (id: string, model: string, answer: Answer) => void = () => undefined;
  readonly #kernel: Kernel;
  readonly #engines: Engines;
  readonly #random: Random;
  readonly #latencyMs: Milliseconds;
  readonly #open = new Map<string, Request>();
  // Made once, for all requests.
  readonly #connects = (request: Request): void => this.#connect(request);
  readonly #loses = (request: Request): void => this.#lost(request);
  #count = 0;

  constructor(kernel: Kernel, engines: Engines, scenario: Scenario) {
    this.#kernel = kernel;
    this.#engines = engines;
    this.#random = new Random(scenario.seed, 'clients');
    this.#latencyMs = scenario.latencyMs;
  }

  get open(): number {
    return this.#open.size;
  }

  openOf(model: string): number {
    return [...this.#open.values()].filter((request) => request.model === model).length;
  }

  ask(ask: Ask, onEnd: (answer: Answer) => void = () => undefined): string {
    this.#count += 1;
    const id = `t${this.#count}`;
    const request: Request = {
      id,
      model: ask.model,
      workMs: ask.workMs,
      arrivedAt: this.#kernel.now,
      connectFailures: ask.connectFailures,
      phase: 'waiting',
      replica: null,
      turn: 0,
      firstByteAt: Infinity,
      onEnd,
    };
    this.#open.set(id, request);
    if (ask.leavesAfter !== null) this.#kernel.after(ask.leavesAfter, () => this.#leave(request));
    const { model, key, patience } = ask;
    this.#kernel.step({ kind: 'ticket.arrived', id, model, keyId: key, stream: patience === null, patience });
    return id;
  }

  /** Clients that ask again as soon as they have their answer and have thought about it. */
  closedLoop(intent: Omit<ClosedLoopIntent, 'kind'> & { readonly stop?: () => boolean }): void {
    const until = this.#kernel.now + intent.lastsMs;
    const again = (key: string): void => {
      if (this.#kernel.now >= until || intent.stop?.()) return;
      const ask: Ask = { ...intent, key, patience: null, leavesAfter: null, connectFailures: 0 };
      this.ask(ask, (answer) => {
        const told = intent.storms ?? answer.error?.retryAfterMs ?? 1_000;
        const rest = answer.kind === 'completed' ? 0 : told;
        this.#kernel.after(rest + this.#random.around(intent.thinkMs), () => again(key));
      });
    };
    for (let client = 0; client < intent.clients; client += 1) {
      this.#kernel.after(this.#random.int(0, 20), () => again(`loop-${client % 3}`));
    }
  }

  openLoop(intent: OpenLoopIntent): void {
    const { model, gapMs, workMs, leave, leaveAfterMs, refused, patient } = intent;
    const until = this.#kernel.now + intent.lastsMs;
    const random = this.#random;
    const oneIn = (share: number): boolean => share > 0 && random.next() * 100 < share;
    const next = (): void => {
      if (this.#kernel.now >= until) return;
      this.ask({
        model,
        key: `k${random.int(1, intent.keys)}`,
        workMs: random.around(workMs),
        patience: oneIn(patient) ? random.int(1_000, 120_000) : null,
        leavesAfter: oneIn(leave) ? random.around(leaveAfterMs) : null,
        connectFailures: oneIn(refused) ? random.int(1, 3) : 0,
      });
      this.#kernel.after(random.around(gapMs), next);
    };
    this.#kernel.after(random.around(gapMs), next);
  }

  /** The gateway is gone, and every connection with it. */
  gatewayDied(): void {
    for (const request of [...this.#open.values()]) this.#over(request, 'gateway_died', null);
  }

  perform(effect: FleetEffect): void {
    if (!('id' in effect)) return;
    const request = this.#open.get(effect.id);
    switch (effect.kind) {
      case 'ticket.granted':
        if (request) this.#granted(request, effect.replica.id);
        else this.#kernel.post({ kind: 'lease.released', id: effect.id, outcome: 'client_closed' });
        return;
      case 'ticket.refused':
        if (request) this.#over(request, 'refused', effect.error);
        return;
      case 'lease.cut':
        if (request) this.#cut(request, effect.error);
        return;
      case 'retry.answered':
        if (request) this.#retryAnswered(request, effect.granted);
        return;
      case 'ticket.queued':
        return;
    }
  }

  #granted(request: Request, replica: string): void {
    request.phase = 'leased';
    request.replica = replica;
    request.firstByteAt = Infinity;
    request.turn += 1;
    this.#later(request, this.#latency(), this.#connects);
  }

  #connect(request: Request): void {
    const engine = this.#engines.all.get(request.replica ?? '');
    const refused = !engine || engine.phase !== 'ready';
    if (refused || request.connectFailures > 0) {
      request.connectFailures -= refused ? 0 : 1;
      this.#kernel.step({ kind: 'retry.asked', id: request.id });
      return;
    }
    engine.work.set(request.id, () => {
      if (Math.min(engine.hungSince, this.#kernel.now) < request.firstByteAt) request.firstByteAt = Infinity;
      this.#later(request, this.#latency(), this.#loses);
    });
    request.firstByteAt = this.#kernel.now + Math.round(request.workMs / 2);
    this.#later(request, request.workMs, () => {
      // A hung engine keeps its work; a dead one has lost it.
      if (engine.hungSince === Infinity && engine.work.has(request.id))
        this.#release(request, 'completed', 'completed', null);
    });
  }

  #retryAnswered(request: Request, granted: boolean): void {
    if (granted) this.#later(request, 1_000, this.#connects);
    else this.#later(request, 0, this.#loses);
  }

  /** Its engine is gone: back to the line when nothing has reached the client yet, and the engine is seen to be gone. */
  #lost(request: Request): void {
    const gone = (): boolean => this.#kernel.state.replicas.get(request.replica ?? '')?.phase !== 'ready';
    const broken = (): void => this.#release(request, 'upstream_failed', 'broken', null);
    if (request.firstByteAt < Infinity) broken();
    // Its last words may have told us before its exit is seen.
    else if (gone() || this.#random.chance(0.1)) this.#giveBack(request);
    else this.#later(request, EXIT_GRACE, () => (gone() ? this.#giveBack(request) : broken()));
  }

  #giveBack(request: Request): void {
    request.phase = 'waiting';
    request.turn += 1;
    this.#kernel.step({ kind: 'lease.returned', id: request.id });
  }

  #cut(request: Request, error: GatewayError): void {
    const late = this.#random.chance(0.2) ? this.#random.int(0, 2_000) : 0;
    // Its connection may break before it hears of that.
    const breaks = late > 0 && this.#random.chance(0.5);
    if (breaks) this.#later(request, late / 2, () => this.#kernel.step({ kind: 'retry.asked', id: request.id }));
    this.#later(request, late, () => this.#release(request, 'deadline', 'cut', error));
  }

  #leave(request: Request): void {
    if (request.phase === 'waiting') {
      this.#over(request, 'left', null);
      this.#kernel.step({ kind: 'ticket.abandoned', id: request.id });
      if (this.#random.chance(0.05)) this.#kernel.post({ kind: 'ticket.abandoned', id: request.id });
    } else if (request.phase === 'leased') {
      this.#release(request, 'client_closed', 'left', null);
    }
  }

  #release(request: Request, outcome: LeaseOutcome, kind: Answer['kind'], error: GatewayError | null): void {
    this.#engines.all.get(request.replica ?? '')?.work.delete(request.id);
    const { id } = request;
    this.#over(request, kind, error);
    this.#kernel.step({ kind: 'lease.released', id, outcome });
    // Whoever says it twice is not heard.
    if (this.#random.chance(0.05)) this.#kernel.post({ kind: 'lease.released', id, outcome });
  }

  #over(request: Request, kind: Answer['kind'], error: GatewayError | null): void {
    if (request.phase === 'over') return;
    request.phase = 'over';
    this.#open.delete(request.id);
    const answer: Answer = { kind, error, tookMs: this.#kernel.now - request.arrivedAt };
    this.answered(request.id, request.model, answer);
    request.onEnd(answer);
  }

  /** Later, if it still runs on the same grant. */
  #later(request: Request, delay: Milliseconds, act: (request: Request) => void): void {
    const { turn } = request;
    this.#kernel.after(delay, () => {
      if (request.phase === 'leased' && request.turn === turn) act(request);
    });
  }

  #latency(): Milliseconds {
    return this.#random.int(0, this.#latencyMs);
  }
}
