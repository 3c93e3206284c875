/**
 * Ended spans on their way to the collector: a bounded queue, one export at a time. Serving never waits for it; what finds
 * no room, or cannot be sent, is dropped and counted.
 */
import type { ReadableSpan, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace';
import type { Clock } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';

export const MAX_QUEUED_SPANS = 2_048;
const BATCH = 512;
const EXPORT_AFTER: Milliseconds = SECOND;
/** `TraceFlags.SAMPLED` */
const SAMPLED = 1;

export interface SpanQueueOptions {
  readonly exporter: SpanExporter;
  readonly clock: Clock;
  readonly dropped: (spans: number) => void;
  /** An export failed. Never holds what the collector answered. */
  readonly failed: (reason: string, spans: number) => void;
}

export class SpanQueue implements SpanProcessor {
  readonly #options: SpanQueueOptions;
  #waiting: ReadableSpan[] = [];
  #timer: Disposable | null = null;
  #exporting: Promise<void> | null = null;
  #inExport = 0;
  #closed = false;

  constructor(options: SpanQueueOptions) {
    this.#options = options;
  }

  onStart(): void {
    // Only what has ended is of interest.
  }

  onEnd(span: ReadableSpan): void {
    if ((span.spanContext().traceFlags & SAMPLED) === 0) return;
    if (this.#closed || this.#waiting.length >= MAX_QUEUED_SPANS) {
      this.#options.dropped(1);
      return;
    }
    this.#waiting.push(span);
    if (this.#exporting !== null) return;
    if (this.#waiting.length >= BATCH) this.#export();
    else this.#timer ??= this.#options.clock.after(EXPORT_AFTER, () => this.#export());
  }

  /** Resolves when everything that has ended by now was sent or dropped: as late as the exporter likes. */
  async forceFlush(): Promise<void> {
    while (this.#waiting.length > 0 || this.#exporting !== null) {
      this.#export();
      await this.#exporting;
    }
  }

  shutdown(): Promise<void> {
    return this.close(0);
  }

  /** Sends what is left; after `limit` the rest is dropped. */
  async close(limit: Milliseconds): Promise<void> {
    const { clock, dropped, failed, exporter } = this.#options;
    let late: Disposable | null = null;
    const limited = new Promise<void>((resolve) => {
      late = clock.after(limit, resolve);
    });
    // Those that end meanwhile are taken along.
    await Promise.race([this.forceFlush(), limited]);
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    const left = this.#waiting.length + this.#inExport;
    if (left > 0) {
      dropped(left);
      failed('the gateway ends', left);
    }
    this.#waiting = [];
    const ended = exporter.shutdown().catch(() => undefined);
    await Promise.race([ended, limited]);
    (late as Disposable | null)?.[Symbol.dispose]();
  }

  #export(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    if (this.#exporting !== null || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, BATCH);
    this.#inExport = batch.length;
    this.#exporting = this.#send(batch).then(() => {
      this.#exporting = null;
      this.#inExport = 0;
      if (this.#waiting.length > 0 && !this.#closed) {
        this.#timer ??= this.#options.clock.after(this.#waiting.length >= BATCH ? 0 : EXPORT_AFTER, () =>
          this.#export(),
        );
      }
    });
  }

  /** Never rejects. */
  async #send(batch: ReadableSpan[]): Promise<void> {
    const { exporter, dropped, failed } = this.#options;
    const error = await new Promise<Error | null>((resolve) => {
      try {
        exporter.export(batch, ({ code, error: reason }) =>
          resolve(code === EXPORTED ? null : (reason ?? new Error('no reason was given'))),
        );
      } catch (thrown) {
        resolve(thrown instanceof Error ? thrown : new Error(String(thrown)));
      }
    });
    // Once closed it was given up, and counted.
    if (error === null || this.#closed) return;
    dropped(batch.length);
    failed(reasonOf(error), batch.length);
  }
}

/** `ExportResultCode.SUCCESS` */
const EXPORTED = 0;

/** The system's word or the status: a message may quote what the collector answered. */
function reasonOf(error: Error): string {
  const code = 'code' in error ? error.code : undefined;
  if (typeof code === 'number') return `it answered with status ${code}`;
  return typeof code === 'string' ? code : error.message;
}
