/** What is noted of a request while it runs, and told once at its end. */
import type { Lease } from '../controller/gate.ts';
import type { Outcome } from '../errors.ts';
import type { Platform } from '../platform/platform.ts';
import type { RequestRecord, Telemetry } from '../telemetry/telemetry.ts';
import type { RequestTrace } from '../telemetry/tracing.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { Usage } from './stream-watch.ts';

export interface LedgerOptions {
  readonly platform: Platform;
  readonly telemetry: Telemetry;
  readonly id: string;
  readonly method: string;
  /** The endpoint's name, or `unknown`. */
  readonly route: string;
  /** Path of the route, for traces; '' when there is none. */
  readonly path: string;
  readonly rawHeaders: readonly string[];
}

export class RequestLedger {
  /** Monotonic, as all points here. */
  readonly startedAt: Milliseconds;
  keyId = 'anonymous';
  model = 'unknown';
  stream = false;
  status = 0;
  replica: string | null = null;
  queueMs: Milliseconds = 0;
  coldStartMs: Milliseconds = 0;
  bodyAt: Milliseconds = 0;
  admittedAt: Milliseconds = 0;
  headAt: Milliseconds = 0;
  bytesOut: Bytes = 0;
  usage: Usage = { promptTokens: null, completionTokens: null };
  /** Null: there are no traces. */
  readonly trace: RequestTrace | null;
  private readonly options: LedgerOptions;
  private readonly wallStart: Milliseconds;
  private firstByteAt: Milliseconds = 0;
  private grantedAt: Milliseconds = 0;
  private ended = false;

  constructor(options: LedgerOptions) {
    this.options = options;
    this.startedAt = options.platform.clock.monotonic();
    this.wallStart = options.platform.clock.wall();
    const { method, path, rawHeaders, telemetry } = options;
    const { startedAt, wallStart } = this;
    this.trace = telemetry.tracing?.begin({ method, path, rawHeaders, startedAt, wallStart }) ?? null;
  }

  granted(lease: Lease): void {
    this.grantedAt = this.options.platform.clock.monotonic();
    this.replica = lease.replicaId;
    this.queueMs = lease.queuedMs;
    this.coldStartMs = lease.coldStartMs;
    this.trace?.granted(lease);
  }

  sent(bytes: Bytes): void {
    if (this.bytesOut === 0) this.firstByteAt = this.options.platform.clock.monotonic();
    this.bytesOut += bytes;
  }

  end(
    outcome: Outcome,
    code: string,
    attempts: number,
    bytesIn: Bytes,
    forward: { readonly sentAt: Milliseconds; readonly firstByteAt: Milliseconds } | null,
  ): void {
    if (this.ended) return;
    this.ended = true;
    const { id, method, route, platform, telemetry } = this.options;
    const record: RequestRecord = {
      id,
      keyId: this.keyId,
      method,
      route,
      model: this.model,
      stream: this.stream,
      status: this.status,
      outcome,
      code,
      replica: this.replica,
      startedAt: this.wallStart,
      durationMs: platform.clock.monotonic() - this.startedAt,
      firstByteMs: this.bytesOut === 0 ? null : this.firstByteAt - this.startedAt,
      queueMs: this.queueMs,
      coldStartMs: this.coldStartMs,
      addedMs: this.addedMs(forward),
      attempts,
      bytesIn,
      bytesOut: this.bytesOut,
      promptTokens: this.usage.promptTokens,
      completionTokens: this.usage.completionTokens,
    };
    telemetry.requestEnded(record);
    this.trace?.end(record, this.grantedAt === 0 && this.admittedAt > 0 ? this.admittedAt : null);
  }

  /** Ours: admission, the way out to the engine, and from its first byte to the client's. */
  private addedMs(
    forward: { readonly sentAt: Milliseconds; readonly firstByteAt: Milliseconds } | null,
  ): Milliseconds | null {
    if (forward === null || forward.sentAt === 0) return null;
    const admission = Math.max(0, Math.min(this.admittedAt || this.grantedAt, this.grantedAt) - this.bodyAt);
    const out = Math.max(0, forward.sentAt - this.grantedAt);
    const back = forward.firstByteAt === 0 ? 0 : Math.max(0, this.firstByteAt - forward.firstByteAt);
    return admission + out + back;
  }
}
