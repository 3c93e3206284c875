/** One lease's way to its engine: attempts, and what may be tried again. */
import type { Lease, Refusal, Ticket } from '../controller/gate.ts';
import type { LeaseOutcome } from '../core/events.ts';
import { gatewayError, type GatewayError, type Outcome } from '../errors.ts';
import type { AttemptTrace, RequestTrace } from '../telemetry/tracing.ts';
import type { Milliseconds } from '../units.ts';
import { ErrorAnswer, PlainAnswer, StreamAnswer, type Answer, type AnswerSide } from './answers.ts';
import { bytesOf } from './byte-ranges.ts';
import { EXIT_GRACE, MAX_INTERIM } from './limits.ts';
import { requestHeaders } from './request-headers.ts';
import { readHead } from './response-headers.ts';
import type { ProxyModel, ProxySettings } from './settings.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamListener } from './upstream-client.ts';
import type { World } from './world.ts';

/** What the forwarder needs of its exchange. */
export interface ForwardSide extends AnswerSide {
  readonly world: World;
  readonly settings: ProxySettings;
  readonly model: ProxyModel;
  readonly rawHeaders: readonly string[];
  readonly connectionHeader: string | undefined;
  readonly contentType: string;
  readonly query: string;
  readonly ledger: { readonly trace: RequestTrace | null };
  /** Of all leases of the exchange. */
  attempts: number;
  render(servedName: string): Buffer | readonly Buffer[];
  /** `refused`: what happens instead when a ticket turns out to be refused at once. */
  returned(next: Ticket | Refusal | Lease, refused?: () => void): void;
  fail(error: GatewayError): void;
}

export class Forward implements UpstreamListener {
  readonly lease: Lease;
  readonly startedAt: Milliseconds;
  /** Monotonic; 0 = not yet. */
  sentAt: Milliseconds = 0;
  firstByteAt: Milliseconds = 0;
  /** Bytes came since the last look. */
  moved = false;
  paused = false;
  answer: Answer | null = null;
  private readonly side: ForwardSide;
  private call: UpstreamCall | null = null;
  private timer: Disposable | null = null;
  private over = false;
  private replayed = false;
  private interims = 0;
  private triesHere = 0;
  private trace: AttemptTrace | null = null;
  /** Counts attempts, so that a failure inside send() is told from a running call. */
  private epoch = 0;
  /** A failure is being dealt with: there is no call. */
  private failing = false;

  constructor(side: ForwardSide, lease: Lease) {
    this.side = side;
    this.lease = lease;
    this.startedAt = side.world.platform.clock.monotonic();
  }

  start(): void {
    this.attempt(false);
  }

  resume(): void {
    this.paused = false;
    this.call?.resume();
  }

  /** Ends it from our side. The lease is released when the engine can no longer be working for it. */
  stop(outcome: LeaseOutcome): void {
    if (this.over) return;
    this.over = true;
    this.timer?.[Symbol.dispose]();
    const { call, lease } = this;
    if (call === null) lease.release(outcome);
    else call.cancel(() => lease.release(outcome));
  }

  /** The engine is done with it. */
  finish(outcome: LeaseOutcome): void {
    if (this.over) return;
    this.over = true;
    this.lease.release(outcome);
  }

  private attempt(fresh: boolean): void {
    const { side, lease } = this;
    const { upstream } = lease;
    side.attempts++;
    this.triesHere++;
    const epoch = ++this.epoch;
    const body = side.render(upstream.servedName);
    const path = `${upstream.pathPrefix}${side.endpoint.upstreamPath}`;
    this.trace = this.traced(path);
    const headers = requestHeaders({
      rawHeaders: side.rawHeaders,
      connection: side.connectionHeader,
      contentType: side.contentType,
      requestId: side.requestId,
      upstream,
      trace: this.trace?.headers ?? null,
    });
    const call = side.world.upstreams.of(upstream, lease.model, side.model.timeouts.connect).send(
      {
        path: path + side.query,
        headers,
        body,
        bodyBytes: bytesOf(body),
        fresh,
      },
      this,
    );
    if (this.over) call.cancel(() => undefined);
    else if (this.epoch === epoch && !this.failing) this.call = call;
  }

  private traced(path: string): AttemptTrace | null {
    const { ledger, attempts } = this.side;
    if (ledger.trace === null) return null;
    const { replicaId, upstream } = this.lease;
    return ledger.trace.attempt({ replicaId, origin: upstream.origin, method: 'POST', path, number: attempts });
  }

  sent(reused: boolean): void {
    if (this.over) return;
    this.sentAt = this.side.world.platform.clock.monotonic();
    this.side.world.telemetry.upstreamRequest(this.lease.model, reused);
  }

  interim(): void {
    if (!this.over && ++this.interims > MAX_INTERIM) this.refuse('The engine sent too many interim answers.');
  }

  head(status: number, fields: readonly string[]): boolean {
    if (this.over) return true;
    const head = readHead(status, fields);
    this.lease.touch();
    this.trace?.answered(status);
    if (status === 401) this.refuse('The engine did not accept the gateway as its client.');
    else if ((status >= 300 && status < 400) || status > 599) this.refuse(`The engine answered with status ${status}.`);
    else if (head.encoded) this.refuse('The engine sent a compressed answer that nobody asked for.');
    else if (status >= 400) this.answer = new ErrorAnswer(this.side, head);
    else if (head.contentType.startsWith('text/event-stream')) this.answer = new StreamAnswer(this.side, head);
    else this.answer = new PlainAnswer(this.side, head);
    return true;
  }

  data(chunk: Buffer): boolean {
    if (this.over) return true;
    if (this.firstByteAt === 0) this.firstByteAt = this.side.world.platform.clock.monotonic();
    this.moved = true;
    this.lease.touch();
    const ready = this.answer?.data(chunk) ?? true;
    this.paused = !ready && !this.over;
    return !this.paused;
  }

  end(): void {
    if (this.over) return;
    this.call = null;
    this.answer?.end();
  }

  failed(failure: UpstreamFailure): void {
    if (this.over) return;
    this.call = null;
    this.failing = true;
    this.trace?.end(failure.kind);
    this.afterFailure(failure);
  }

  private afterFailure(failure: UpstreamFailure): void {
    const { telemetry } = this.side.world;
    telemetry.log.debug(
      { id: this.side.requestId, replica: this.lease.replicaId, kind: failure.kind, detail: failure.detail },
      'an attempt failed',
    );
    if (this.answer !== null) {
      this.answer.failed(failure.detail);
    } else if (failure.kind === 'exhausted') {
      telemetry.invariantViolated('pool_exhausted', `replica ${this.lease.replicaId}: ${failure.detail}`);
      this.side.fail(
        gatewayError('pool_exhausted', 'No connection to the engine was left; this is a fault of the gateway.'),
      );
    } else if (failure.kind === 'protocol') {
      this.side.fail(gatewayError('upstream_protocol_error', 'The engine did not answer in valid HTTP.'));
    } else if (failure.kind === 'unreachable') {
      this.unreachable();
    } else if (failure.reused && !failure.answered && !this.replayed) {
      this.replay();
    } else {
      this.lost();
    }
  }

  /** A socket that had served before and died without a byte: the engine had most likely closed it already. */
  private replay(): void {
    this.ifAllowed(
      () => {
        this.replayed = true;
        this.again('reused_connection', true);
      },
      () => this.lost(),
    );
  }

  /** Another attempt on this lease. */
  private ifAllowed(run: () => void, otherwise: () => void): void {
    if (!this.lease.alive) {
      otherwise();
      return;
    }
    this.lease.mayRetry((may) => {
      if (this.over) return;
      if (may) run();
      else otherwise();
    });
  }

  private again(reason: string, fresh: boolean): void {
    this.failing = false;
    this.side.world.telemetry.retried(this.lease.model, reason);
    this.attempt(fresh);
  }

  private unreachable(): void {
    const { attempts, delay, factor } = this.side.settings.retry;
    const instead = (): void =>
      this.unlessExited(() => {
        this.side.fail(gatewayError('upstream_unreachable', 'No connection to the engine could be made.'));
      });
    if (this.triesHere >= attempts) {
      instead();
      return;
    }
    this.ifAllowed(() => {
      this.later(delay * factor ** (this.triesHere - 1), () => {
        if (this.lease.alive || !this.side.mayReturn) this.again('connect', false);
        else this.giveBack();
      });
    }, instead);
  }

  /** The connection ended before anything of an answer went out. */
  lost(): void {
    this.unlessExited(() => {
      this.side.fail(gatewayError('upstream_lost', 'The engine closed the connection before it answered.'));
    });
  }

  /** The engine says, or its exit shows, that it goes down: the request goes back to the queue, once; else `instead`. */
  private unlessExited(instead: () => void): void {
    if (!this.side.mayReturn) {
      instead();
    } else if (!this.lease.alive) {
      this.giveBack();
    } else {
      this.later(EXIT_GRACE, () => {
        if (this.lease.alive) instead();
        else this.giveBack();
      });
    }
  }

  private later(delay: Milliseconds, run: () => void): void {
    this.timer = this.side.world.platform.clock.after(delay, () => {
      this.timer = null;
      if (!this.over) run();
    });
  }

  /** Back to the queue. `refused`: what happens instead when that is not possible; without it the refusal is the answer. */
  giveBack(refused?: () => void): void {
    this.over = true;
    this.timer?.[Symbol.dispose]();
    this.call?.cancel(() => undefined);
    const next = this.lease.giveBack();
    if (next.kind === 'refused' && refused !== undefined) {
      refused();
      return;
    }
    if (next.kind !== 'refused') {
      this.side.world.telemetry.retried(this.lease.model, 'engine_down');
      this.trace?.returned();
    }
    this.side.returned(next, refused);
  }

  /** What came is not an answer that we pass on. */
  private refuse(message: string): void {
    this.side.fail(gatewayError('upstream_protocol_error', message));
  }
}

/** How a lease ended whose request ended so. A refusal after the grant can only be our own doing. */
export function leaseOutcome(outcome: Outcome): LeaseOutcome {
  return outcome === 'rejected' ? 'internal' : outcome;
}
