/** What a gateway of a world says of itself: kept, and looked through. */
import { createActivity } from '../../../src/telemetry/activity.ts';
import type { GatewayTelemetry } from '../../../src/telemetry/create-telemetry.ts';
import { createRequestLog } from '../../../src/telemetry/request-log.ts';
import type { Logger, RequestRecord } from '../../../src/telemetry/telemetry.ts';

type Sources = Parameters<GatewayTelemetry['observe']>[0];

export class ShellTelemetry implements GatewayTelemetry {
  readonly log: Logger;
  readonly requests = createRequestLog(1);
  readonly activity = createActivity(() => true);
  readonly records: RequestRecord[] = [];
  /** What no gateway may ever have to say. */
  readonly faults: string[] = [];
  sources: Sources | null = null;
  readonly #alive: () => boolean;
  readonly #ended: (record: RequestRecord) => void;
  readonly #retried: (model: string, reason: string) => void;

  constructor(
    alive: () => boolean,
    ended: (record: RequestRecord) => void,
    retried: (model: string, reason: string) => void,
  ) {
    this.#alive = alive;
    this.#ended = ended;
    this.#retried = retried;
    this.log = {
      trace: () => undefined,
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (fields, message) => {
        if (alive()) this.faults.push(`${message} ${told(fields)}`);
      },
      child: () => this.log,
    };
  }

  observe(sources: Sources): void {
    this.sources = sources;
  }

  requestEnded(record: RequestRecord): void {
    if (!this.#alive()) return;
    this.records.push(record);
    this.#ended(record);
  }

  upstreamRequest(): void {}

  retried(model: string, reason: string): void {
    if (this.#alive()) this.#retried(model, reason);
  }

  startEnded(): void {}
  evicted(): void {}

  invariantViolated(id: string, detail: string): void {
    this.faults.push(`${id}: ${detail}`);
  }

  renderMetrics(): Promise<{ readonly contentType: string; readonly text: string }> {
    return Promise.resolve({ contentType: 'text/plain', text: '' });
  }

  startTracing(): Promise<void> {
    return Promise.resolve();
  }

  reloaded(): void {}
  spansDropped(): void {}
  workerLagged(): void {}
  workerEnded(): void {}
  writeWhole(): void {}
  setLevel(): void {}
  setModels(): void {}
  setSecrets(): void {}
  flush(): void {}
  [Symbol.dispose](): void {}
}

function told(fields: object): string {
  const error = 'err' in fields ? fields.err : undefined;
  return error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(fields);
}
