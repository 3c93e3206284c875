/**
 * Sees what becomes of our containers. Events are only hints, as a daemon forgets them when it restarts and keeps few:
 * after every connect, and every 30 s, everything is looked at.
 */
import type { Platform } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import type { DockerClient } from './client.ts';
import { jsonLines } from './json-lines.ts';

const SYNC_EVERY: Milliseconds = 30 * SECOND;
const FIRST_RETRY: Milliseconds = SECOND / 4;
const LAST_RETRY: Milliseconds = 10 * SECOND;
/** Part of a pause that is random, so that several gateways do not knock at once. */
const JITTER = 0.5;

export interface ObserverEvents {
  /** It is there, for the first time or again: what was known of it may not hold any more. */
  readonly connected: () => void;
  /** This container ended or was removed, as far as the daemon says. */
  readonly changed: (container: string) => void;
  /** Looks at everything. May reject: it comes again. */
  readonly sync: () => Promise<void>;
}

export class Observer {
  readonly #client: DockerClient;
  readonly #platform: Pick<Platform, 'clock' | 'random'>;
  readonly #label: string;
  readonly #events: ObserverEvents;
  readonly #closed = new AbortController();
  #started = false;

  constructor(
    client: DockerClient,
    platform: Pick<Platform, 'clock' | 'random'>,
    label: string,
    events: ObserverEvents,
  ) {
    this.#client = client;
    this.#platform = platform;
    this.#label = label;
    this.#events = events;
  }

  start(): void {
    if (this.#started || this.#closed.signal.aborted) return;
    this.#started = true;
    void this.#run();
    void this.#syncRegularly();
  }

  close(): void {
    this.#closed.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closed;
    let retry = FIRST_RETRY;
    while (!signal.aborted) {
      const began = this.#platform.clock.monotonic();
      const opened = new AbortController();
      try {
        const stream = await this.#client.events(this.#label, AbortSignal.any([signal, opened.signal]));
        this.#events.connected();
        // Only now: what ends from here on is an event, what ended before is seen in this look.
        await this.#events.sync();
        for await (const event of jsonLines(stream)) this.#tell(event);
      } catch {
        // It is away; why is what `trouble` of the client says.
      } finally {
        // One whose look at everything failed was not read, and would stay open beside the next.
        opened.abort();
      }
      if (this.#platform.clock.monotonic() - began > LAST_RETRY) retry = FIRST_RETRY;
      await this.#pause(retry * (1 - JITTER * this.#platform.random.next()));
      retry = Math.min(LAST_RETRY, retry * 2);
    }
  }

  #tell(event: Readonly<Record<string, unknown>>): void {
    const container = (event['Actor'] as { readonly ID?: unknown } | null | undefined)?.ID ?? event['id'];
    if (typeof container === 'string') this.#events.changed(container);
  }

  async #syncRegularly(): Promise<void> {
    const { signal } = this.#closed;
    for (;;) {
      await this.#pause(SYNC_EVERY);
      if (signal.aborted) return;
      await this.#events.sync().catch(() => undefined);
    }
  }

  async #pause(delay: Milliseconds): Promise<void> {
    await this.#platform.clock.sleep(delay, this.#closed.signal).catch(() => undefined);
  }
}
