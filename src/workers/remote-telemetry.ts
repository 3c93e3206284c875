/**
 * What a worker says of itself goes to the controller's process, which counts it, keeps it and writes it: one registry, one
 * list of requests, one log in which the lines of a request stand in order.
 */
import type { Clock } from '../platform/platform.ts';
import { createLogger, type RootLogger } from '../telemetry/logger.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { loadTracing, type TracingSurroundings } from '../telemetry/traces/load-tracing.ts';
import type { TraceSettings, Tracing } from '../telemetry/tracing.ts';
import { MIB, SECOND, type Bytes, type Milliseconds } from '../units.ts';
import type { FromWorker, WorkerConfiguration } from './protocol.ts';

/** Lines beyond this are lost, as they are where nobody reads the log. */
const MAX_UNSENT: Bytes = 16 * MIB;
const LAG_SAMPLE_EVERY: Milliseconds = SECOND / 2;
/** Samples are told together: a worker at rest must not keep the others awake. */
const LAGS_TOLD_TOGETHER = 20;

export interface RemoteTelemetryOptions {
  readonly clock: Clock;
  readonly say: (message: FromWorker) => void;
  /** Said and not yet sent. */
  readonly unsent: () => Bytes;
  readonly configuration: WorkerConfiguration;
}

export class RemoteTelemetry implements Telemetry {
  readonly log: Telemetry['log'];
  tracing: Tracing | null = null;
  readonly #options: RemoteTelemetryOptions;
  readonly #logger: RootLogger;
  #lags: Milliseconds[] = [];

  constructor(options: RemoteTelemetryOptions) {
    this.#options = options;
    const { logLevel, logSecrets } = options.configuration;
    this.#logger = createLogger({
      level: logLevel,
      format: 'json',
      secrets: logSecrets,
      output: {
        write: (line) => {
          if (options.unsent() <= MAX_UNSENT) options.say({ kind: 'line', line });
        },
      },
    });
    this.log = this.#logger.log;
    this.#sampleLag();
  }

  configure({ logLevel, logSecrets }: WorkerConfiguration): void {
    this.#logger.setLevel(logLevel);
    this.#logger.setSecrets(logSecrets);
  }

  async startTracing(settings: TraceSettings | null, surroundings: TracingSurroundings): Promise<void> {
    if (settings === null) return;
    const { clock, say } = this.#options;
    this.tracing = await loadTracing(settings, surroundings, {
      log: this.log,
      clock,
      dropped: (spans) => say({ kind: 'spans_dropped', spans }),
      safe: this.#logger.safe,
    });
  }

  requestEnded(record: Parameters<Telemetry['requestEnded']>[0]): void {
    this.#options.say({ kind: 'record', record });
  }

  upstreamRequest(model: string, reused: boolean): void {
    this.#options.say({ kind: 'upstream_request', model, reused });
  }

  retried(model: string, reason: string): void {
    this.#options.say({ kind: 'retried', model, reason });
  }

  invariantViolated(id: string, detail: string): void {
    this.#options.say({ kind: 'invariant_violated', id, detail });
  }

  /** Of the controller alone. */
  startEnded(): void {
    throw new Error('a worker starts no engines');
  }

  evicted(): void {
    throw new Error('a worker evicts nothing');
  }

  #sampleLag(): void {
    const { clock, say } = this.#options;
    const due = clock.monotonic() + LAG_SAMPLE_EVERY;
    clock.after(LAG_SAMPLE_EVERY, () => {
      this.#lags.push(Math.max(0, clock.monotonic() - due));
      if (this.#lags.length >= LAGS_TOLD_TOGETHER) {
        say({ kind: 'lags', lags: this.#lags });
        this.#lags = [];
      }
      this.#sampleLag();
    });
  }
}
