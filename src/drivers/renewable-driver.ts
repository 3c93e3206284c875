/**
 * A driver that is made when it is first needed, and again after it was closed: a reload may bring the first model that it
 * runs. Whoever watches goes on watching.
 */
import type { FetchSpec, LaunchSpec } from '../core/launch.ts';
import type { FoundReplica } from '../core/events.ts';
import type { DriverKind } from '../core/settings.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import type { Driver, ExitReport, FetchOptions, LogOptions, ReplicaIdentity, StopOptions } from './driver.ts';

export class RenewableDriver implements Driver {
  readonly kind: DriverKind;
  readonly #create: () => Driver;
  /** False where there is nothing that could tell, and nobody asks it to run anything. */
  readonly #worthListing: () => Promise<boolean>;
  readonly #watchers = new Set<(exit: ExitReport) => void>();
  #driver: Driver | null = null;

  constructor(kind: DriverKind, create: () => Driver, worthListing: () => Promise<boolean> = async () => true) {
    this.kind = kind;
    this.#create = create;
    this.#worthListing = worthListing;
  }

  fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: string | null }> {
    return this.#open().fetch(spec, options);
  }

  async pids(replica: ReplicaRef): Promise<readonly number[]> {
    return (await this.#driver?.pids(replica)) ?? [];
  }

  launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    return this.#open().launch(spec, identity);
  }

  stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    return this.#open().stop(replica, options);
  }

  async list(): Promise<readonly FoundReplica[]> {
    return (await this.#worthListing()) ? this.#open().list() : [];
  }

  watch(report: (exit: ExitReport) => void): Disposable {
    this.#watchers.add(report);
    return { [Symbol.dispose]: () => void this.#watchers.delete(report) };
  }

  adopt(replica: ReplicaRef): void {
    this.#open().adopt(replica);
  }

  logs(replica: ReplicaRef, options: LogOptions): AsyncIterable<string> {
    return this.#open().logs(replica, options);
  }

  tail(replica: ReplicaRef, lines: number): Promise<readonly string[]> {
    return this.#open().tail(replica, lines);
  }

  trouble(): string | null {
    return this.#driver?.trouble?.() ?? null;
  }

  async close(): Promise<void> {
    const driver = this.#driver;
    this.#driver = null;
    await driver?.close();
  }

  #open(): Driver {
    if (this.#driver !== null) return this.#driver;
    const driver = this.#create();
    driver.watch((exit) => {
      for (const report of this.#watchers) report(exit);
    });
    this.#driver = driver;
    return driver;
  }
}
