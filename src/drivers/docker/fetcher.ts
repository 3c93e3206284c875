/** Makes image and weights present before a start: pulls, then runs a container of that image to its end. */
import type { DockerSettings } from '../../config/config.ts';
import type { ContainerSpec, FetchSpec } from '../../core/launch.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { LaunchError, type DriverContext, type FetchOptions } from '../driver.ts';
import { FetchProgress, fetchFailureText } from '../logs/fetch-progress.ts';
import type { ContainerFacts, DockerClient } from './client.ts';
import { fetchBody } from './create-body.ts';
import { launchFailure } from './failures.ts';
import { exitOf, isAlive } from './found.ts';
import { fetchLabels } from './labels.ts';
import { logLines } from './log-stream.ts';
import type { PlaceFinder } from './place.ts';
import { ensureImage } from './pull.ts';

const KEPT_LINES = 40;
const LOOK_EVERY: Milliseconds = SECOND / 4;

export interface FetcherOptions {
  readonly context: DriverContext;
  readonly settings: DockerSettings;
  readonly client: DockerClient;
  readonly place: PlaceFinder;
  readonly unwanted: (container: string, replica: null) => void;
}

export class Fetcher {
  readonly #options: FetcherOptions;
  readonly #running = new Set<string>();

  constructor(options: FetcherOptions) {
    this.#options = options;
  }

  /** True while a fetch of this process works with the container of this name. */
  owns(name: string): boolean {
    return this.#running.has(name);
  }

  async fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: string | null }> {
    if (spec.container === null) throw new LaunchError('bad_arguments', 'the model has no image to run.');
    const image = await ensureImage(this.#options.client, spec.container.image, options);
    if (spec.argv !== null) await this.#run(spec, spec.argv, spec.container, options);
    return { image };
  }

  async #run(spec: FetchSpec, argv: readonly string[], container: ContainerSpec, options: FetchOptions): Promise<void> {
    const { context, settings } = this.#options;
    const name = `${settings.containerPrefix}_fetch_${context.platform.random.hex(12)}`;
    this.#running.add(name);
    try {
      options.progress('weights', null);
      await this.#toItsEnd(name, spec, argv, container, options);
    } catch (error) {
      options.signal.throwIfAborted();
      throw launchFailure(error);
    } finally {
      await this.#remove(name);
      this.#running.delete(name);
    }
  }

  async #toItsEnd(
    name: string,
    spec: FetchSpec,
    argv: readonly string[],
    container: ContainerSpec,
    options: FetchOptions,
  ): Promise<void> {
    const { client, context, settings, place } = this.#options;
    const { platform, gatewayId } = context;
    const { daemon, surroundings } = await place.find();
    const environment = platform.env;
    const labels = fetchLabels(gatewayId);
    options.signal.throwIfAborted();
    await client.create(
      name,
      fetchBody(spec, argv, container, { settings, daemon, surroundings, labels, environment }),
    );
    options.signal.throwIfAborted();
    await client.start(name);
    const progress = new FetchProgress(platform.clock, options.progress);
    const last: string[] = [];
    const source = { client, clock: platform.clock, container: name, isLive: () => true };
    const following = { tail: Number.MAX_SAFE_INTEGER, follow: true, signal: options.signal };
    for await (const line of logLines(source, following, 'each')) {
      progress.line(line);
      last.push(line);
      if (last.length > KEPT_LINES) last.shift();
    }
    const facts = await this.#ended(name, options.signal);
    const exit = facts === undefined ? null : exitOf(facts, { id: name, generation: 0 });
    if (exit === null) throw new LaunchError('model_files', 'the container that fetched its files was removed.');
    if (exit.code === 0) return;
    const why = fetchFailureText(last);
    throw new LaunchError('model_files', `the files of the model could not be fetched (${exit.detail}): ${why}`);
  }

  async #ended(name: string, signal: AbortSignal): Promise<ContainerFacts | undefined> {
    const { client, context } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      const facts = await client.inspect(name);
      if (facts === undefined || !isAlive(facts)) return facts;
      await context.platform.clock.sleep(LOOK_EVERY, signal);
    }
  }

  async #remove(name: string): Promise<void> {
    const { client, unwanted } = this.#options;
    try {
      await client.remove(name);
      if ((await client.inspect(name)) === undefined) return;
    } catch {
      // The daemon is away; it is removed when it is back.
    }
    unwanted(name, null);
  }
}
