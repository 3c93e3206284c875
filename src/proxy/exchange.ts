/** One client request and its answer, start to end. */
import type { IncomingMessage } from 'node:http';
import type { Principal } from '../auth/auth.ts';
import type { Lease, Refusal, Ticket, TicketSink } from '../controller/gate.ts';
import { gatewayError, type GatewayError, type Outcome } from '../errors.ts';
import type { Milliseconds } from '../units.ts';
import type { Endpoint, ErrorShape } from './endpoints.ts';
import { overdue, lookAgainAt } from './deadlines.ts';
import { tellFault } from './fault.ts';
import { Forward, leaseOutcome, type ForwardSide } from './forward.ts';
import { Heartbeats } from './heartbeats.ts';
import { Intake } from './intake.ts';
import { modelNotFound } from './models-route.ts';
import { patienceOf } from './patience.ts';
import { commonHeaders, earlyStreamHeaders, leaseHeaders, relayedErrorHeaders } from './reply-headers.ts';
import { errorBody, errorHeaders, rowOf, statusOf } from './reply.ts';
import type { RequestBody } from './request-body.ts';
import type { RequestLedger } from './request-ledger.ts';
import { forwardedQuery } from './request-headers.ts';
import type { UpstreamHead } from './response-headers.ts';
import type { ResponseWriter } from './response-writer.ts';
import { resolveModel, type ProxyModel, type ProxySettings } from './settings.ts';
import { engineErrorEvent, errorEvent } from './stream-events.ts';
import type { Usage } from './stream-watch.ts';
import type { Ticking } from './ticker.ts';
import type { World } from './world.ts';

export interface ExchangeOptions {
  readonly world: World;
  readonly settings: ProxySettings;
  readonly request: IncomingMessage;
  readonly writer: ResponseWriter;
  readonly requestId: string;
  readonly endpoint: Endpoint;
  /** The path is one of the models' own routes. */
  readonly ownRoute: string | null;
  readonly query: string;
  readonly principal: Principal;
  readonly body: RequestBody;
  readonly ledger: RequestLedger;
  /** Nothing more will happen; the connection may go on. */
  readonly ended: () => void;
  /** An answer comes before the whole request was read, of which no more can come if `broken`: true when the connection ends. */
  readonly refusedEarly: (error: GatewayError, broken: boolean) => boolean;
}

type Phase = 'reading' | 'waiting' | 'leased' | 'ended';

export class Exchange implements TicketSink, Ticking, ForwardSide {
  readonly world: World;
  readonly settings: ProxySettings;
  readonly endpoint: Endpoint;
  readonly requestId: string;
  readonly rawHeaders: readonly string[];
  readonly connectionHeader: string | undefined;
  readonly contentType: string;
  readonly query: string;
  attempts = 0;
  asked = '';
  served = '';
  upstreamFields: Readonly<Record<string, string>> = {};
  private readonly options: ExchangeOptions;
  private readonly writer: ResponseWriter;
  readonly ledger: RequestLedger;
  private readonly intake: Intake;
  /** Among those with deadlines. */
  private readonly place: number;
  private readonly shape: ErrorShape;
  private phase: Phase = 'reading';
  private known: ProxyModel | null = null;
  private ticket: Ticket | null = null;
  private forward: Forward | null = null;
  /** What a request that was given back is answered when it may not wait. */
  private insteadOfRefusal: (() => void) | null = null;
  private lastMovedAt: Milliseconds = 0;
  private firstByteExtendedTo: Milliseconds = 0;
  private heartbeats: Heartbeats | null = null;
  /** A heartbeat has sent the head of a stream. */
  private headIsStream = false;
  /** Bytes of an engine's answer have been written. */
  private relayed = false;

  constructor(options: ExchangeOptions) {
    const { request, world } = options;
    this.options = options;
    this.world = world;
    this.settings = options.settings;
    this.endpoint = options.endpoint;
    this.shape = options.endpoint.errors;
    this.requestId = options.requestId;
    this.writer = options.writer;
    this.ledger = options.ledger;
    this.rawHeaders = request.rawHeaders;
    this.connectionHeader = request.headers.connection?.toLowerCase();
    this.contentType = options.endpoint.body === 'json' ? 'application/json' : (request.headers['content-type'] ?? '');
    this.query = forwardedQuery(options.query);
    this.intake = new Intake({
      request,
      body: options.body,
      world,
      maxBodySize: options.settings.maxBodySize,
      startedAt: options.ledger.startedAt,
      done: (error) => {
        this.safely(() => (error === null ? this.admit() : this.fail(error)));
      },
    });
    this.place = world.ticker.add(this);
  }

  get model(): ProxyModel {
    if (this.known === null) throw new Error('the model is not resolved yet');
    return this.known;
  }

  get headSent(): boolean {
    return this.writer.headSent;
  }

  get mayReturn(): boolean {
    return this.settings.retry.engineDown && !this.relayed;
  }

  private get now(): Milliseconds {
    return this.world.platform.clock.monotonic();
  }

  /** The body is complete: who is to serve it, and may it wait? */
  private admit(): void {
    const { body, principal, request, ownRoute } = this.options;
    const { gate } = this.world;
    this.ledger.bodyAt = this.now;
    this.asked = body.model;
    const model = resolveModel(this.settings, body.model);
    if (model === undefined || !principal.mayUse(model.name)) {
      this.fail(modelNotFound(body.model, this.settings, principal));
      return;
    }
    this.known = model;
    this.ledger.model = model.name;
    this.ledger.stream = body.stream;
    if (ownRoute !== null && !model.routes.includes(ownRoute)) {
      this.fail(gatewayError('route_not_found', `The model ${JSON.stringify(body.model)} has no route ${ownRoute}.`));
      return;
    }
    if (!gate.accepting) {
      this.fail(gatewayError('shutting_down', 'The gateway is shutting down.'));
      return;
    }
    this.phase = 'waiting';
    const { dialect } = this.endpoint;
    if (body.stream && dialect !== null && model.keepalive.after > 0) {
      this.heartbeats = new Heartbeats(dialect, model.keepalive, this.now);
    }
    const ask = {
      id: this.world.nextId(),
      model: model.name,
      keyId: principal.keyId,
      stream: body.stream,
      patience: this.heartbeats === null ? patienceOf(request.headers) : null,
      request: { id: this.requestId, route: this.endpoint.name },
    };
    this.take(gate.acquire(ask, this));
    this.ledger.admittedAt = this.now;
  }

  private take(next: Lease | Ticket | Refusal): void {
    if (next.kind === 'lease') this.begin(next);
    else if (next.kind === 'refused') this.fail(next.error);
    else this.ticket = next;
  }

  granted(lease: Lease): void {
    this.safely(() => this.begin(lease));
  }

  private begin(lease: Lease): void {
    this.ticket = null;
    if (this.phase === 'ended') {
      lease.release('client_closed');
      return;
    }
    this.forward = new Forward(this, lease); // Whatever fails from here on gives the lease back through it.
    this.phase = 'leased';
    this.served = lease.upstream.servedName;
    this.upstreamFields = lease.upstream.headers;
    this.ledger.granted(lease);
    this.lastMovedAt = this.forward.startedAt;
    this.firstByteExtendedTo = 0;
    this.forward.start();
  }

  refused(error: GatewayError, atOnce = false): void {
    this.ticket = null;
    const instead = atOnce && this.phase === 'waiting' ? this.insteadOfRefusal : null;
    this.safely(instead ?? (() => this.fail(error)));
  }

  cut(error: GatewayError): void {
    this.safely(() => this.fail(error));
  }

  /** One request's fault must not become everybody's: what calls us here serves them all. */
  private safely(run: () => void): void {
    try {
      run();
    } catch (fault) {
      tellFault(fault, this.world.telemetry.log, this.requestId, this);
    }
  }

  giveUp(error: GatewayError): void {
    this.writer.destroy();
    this.close(error);
  }

  returned(next: Ticket | Refusal | Lease, refused?: () => void): void {
    this.forward = null;
    this.insteadOfRefusal = refused ?? null;
    if (this.phase === 'ended') {
      if (next.kind === 'ticket') next.abandon();
      else if (next.kind === 'lease') next.release('client_closed');
      return;
    }
    this.phase = 'waiting';
    this.take(next);
  }

  goingDown(relay: () => void): void {
    this.forward?.giveBack(relay);
  }

  lost(): void {
    this.forward?.lost();
  }

  render(servedName: string): Buffer | readonly Buffer[] {
    return this.options.body.render(servedName, this.model.requestDefaults);
  }

  sendHead(status: number, headers: readonly string[]): void {
    if (!this.writer.open) return;
    this.ledger.status = status;
    this.ledger.headAt = this.now;
    this.writer.head(status, [...headers, ...this.headers()]);
  }

  private headers(): string[] {
    const { world, options, known } = this;
    const headers = commonHeaders(world, options.settings, options.request, this.requestId, this.shape);
    if (known !== null) leaseHeaders(headers, world, known.name, this.ledger, this.attempts);
    return headers;
  }

  send(piece: Buffer): boolean {
    if (!this.relayed) {
      this.relayed = true;
      this.intake.discharge();
    }
    this.ledger.sent(piece.length);
    return this.writer.write(piece, this.drained);
  }

  private readonly drained = (): void => {
    this.lastMovedAt = this.now;
    this.forward?.resume();
  };

  completed(failed: boolean, usage: Usage): void {
    this.ledger.usage = usage;
    this.writer.end();
    this.forward?.finish(failed ? 'upstream_failed' : 'completed');
    this.end(failed ? 'upstream_failed' : 'completed', '');
  }

  engineError(head: UpstreamHead, status: number, body: Buffer): void {
    const outcome = status >= 500 ? 'upstream_failed' : 'completed';
    if (this.headSent) {
      this.writer.breakOff(engineErrorEvent(body, this.endpoint.dialect, 0));
    } else {
      this.sendHead(status, relayedErrorHeaders(head, status, body.length));
      this.ledger.sent(body.length);
      this.writer.end(body);
    }
    this.forward?.stop(outcome);
    this.end(outcome, '');
  }

  broken(error: GatewayError, torn: boolean, sequenceNumber: number): void {
    if (this.phase === 'ended') return;
    if (this.headIsStream || this.forward?.answer?.isStream === true) {
      const event = errorEvent(error, this.endpoint.dialect, this.requestId, sequenceNumber);
      this.writer.breakOff(torn ? Buffer.concat([Buffer.from('\n\n'), event]) : event);
    } else {
      this.writer.destroy();
    }
    this.close(error);
  }

  /** Whatever is wrong, told in the way that is still possible. */
  fail(error: GatewayError, requestBroken = false): void {
    if (this.phase === 'ended') return;
    if (this.headSent) {
      const answer = this.forward?.answer ?? null;
      this.broken(error, answer?.torn ?? false, answer?.sequenceNumber() ?? 0);
      return;
    }
    const { request, refusedEarly } = this.options;
    const last = !request.complete && refusedEarly(error, requestBroken) && !this.world.draining;
    const status = statusOf(error, this.shape);
    const text = errorBody(error, this.shape, this.requestId);
    const length = Buffer.byteLength(text);
    const headers = [...errorHeaders(error, status), 'content-length', String(length)];
    this.sendHead(status, last ? [...headers, 'connection', 'close'] : headers);
    this.ledger.sent(length);
    this.writer.end(text);
    this.close(error);
  }

  private close(error: GatewayError): void {
    const { outcome } = rowOf(error);
    this.forward?.stop(leaseOutcome(outcome));
    this.end(outcome, error.code);
  }

  /** The client's connection is gone. */
  clientGone(): void {
    if (this.phase === 'ended') return;
    this.ticket?.abandon();
    this.forward?.stop('client_closed');
    this.end('client_closed', '');
  }

  requestBroken(error: GatewayError): boolean {
    if (this.phase !== 'reading' || this.options.request.complete) return false;
    this.fail(error, true);
    return true;
  }

  tick(now: Milliseconds): void {
    this.safely(() => this.lookAt(now));
  }

  private lookAt(now: Milliseconds): void {
    if (this.phase === 'reading') {
      if (this.intake.isLate(now)) {
        this.fail(gatewayError('request_timeout', 'The request body did not arrive in time.'));
      }
      return;
    }
    if (this.heartbeats !== null && !this.relayed) this.beat(now, this.heartbeats);
    if (this.phase === 'leased' && this.forward !== null) this.watch(now, this.forward);
  }

  private beat(now: Milliseconds, beats: Heartbeats): void {
    const beat = beats.next(now, this.phase === 'waiting' ? this.world.gate : null, this.model.name);
    if (beat === null) return;
    if (!this.headSent) {
      this.ledger.status = 200;
      this.headIsStream = true;
      const common = commonHeaders(this.world, this.settings, this.options.request, this.requestId, this.shape);
      this.writer.head(200, earlyStreamHeaders(common, this.model.name));
    }
    this.ledger.sent(beat.length);
    this.writer.write(beat, this.drained);
  }

  private watch(now: Milliseconds, forward: Forward): void {
    if (forward.moved) {
      forward.moved = false;
      this.lastMovedAt = now;
    }
    const stalled = overdue(now, forward, this.lastMovedAt, this.model.timeouts, this.options.body.stream);
    if (stalled === null) return;
    if (stalled === 'client') {
      this.writer.destroy();
      this.clientGone();
      return;
    }
    if (stalled === 'first_byte') {
      if (now < this.firstByteExtendedTo) return;
      if (this.world.countersMoving?.(forward.lease.replicaId) === true) {
        this.firstByteExtendedTo = lookAgainAt(now);
        return;
      }
    }
    const message =
      stalled === 'first_byte' ? 'The engine sent nothing in time.' : 'The engine stopped in the middle of its answer.';
    this.fail(gatewayError('upstream_timeout', message, { shouldRetry: forward.sentAt === 0 }));
  }

  private end(outcome: Outcome, code: string): void {
    if (this.phase === 'ended') return;
    this.phase = 'ended';
    this.world.ticker.delete(this.place);
    this.intake.stop();
    this.intake.discharge();
    this.ledger.end(outcome, code, this.attempts, this.options.body.size, this.forward);
    this.options.ended();
  }
}
