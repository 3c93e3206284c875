/** What must be known before a container can be made: the daemon's abilities and the network. Kept until it may have changed. */
import type { DockerSettings } from '../../config/config.ts';
import { LaunchError, type DriverContext } from '../driver.ts';
import type { DaemonFacts, DockerClient } from './client.ts';
import { SurroundingsFinder, type Surroundings } from './surroundings.ts';

export interface Place {
  readonly daemon: DaemonFacts;
  readonly surroundings: Surroundings;
}

export class PlaceFinder {
  readonly #client: DockerClient;
  readonly #finder: SurroundingsFinder;
  readonly #told = new Set<string>();
  #known: Promise<Place> | null = null;
  #finding = false;
  #trouble: string | null = null;

  constructor(client: DockerClient, settings: DockerSettings, context: DriverContext) {
    this.#client = client;
    this.#finder = new SurroundingsFinder(client, settings, context.platform, (text) => {
      if (this.#told.has(text)) return;
      this.#told.add(text);
      context.notice?.(text);
    });
  }

  /** Why there is no place for engines; null = there is, as far as is known. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** @throws LaunchError, DockerFailure */
  find(): Promise<Place> {
    this.#known ??= this.#find();
    return this.#known;
  }

  /** What is being found out at this moment is fresh enough: two at once would both make the network. */
  forget(): void {
    if (!this.#finding) this.#known = null;
  }

  async #find(): Promise<Place> {
    this.#finding = true;
    try {
      const [daemon, surroundings] = await Promise.all([this.#client.info(), this.#finder.find()]);
      this.#trouble = null;
      return { daemon, surroundings };
    } catch (error) {
      this.#known = null;
      this.#trouble = error instanceof LaunchError ? error.message : null;
      throw error;
    } finally {
      this.#finding = false;
    }
  }
}
