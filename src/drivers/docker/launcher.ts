/** From a launch spec to a running container; whatever fails on the way leaves nothing behind. */
import type { DockerSettings } from '../../config/config.ts';
import type { LaunchSpec } from '../../core/launch.ts';
import type { ReplicaRef } from '../../core/state.ts';
import type { Platform } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { LaunchError, type DriverContext, type ReplicaIdentity } from '../driver.ts';
import type { ContainerFacts, CreateBody, DockerClient } from './client.ts';
import { replicaBody } from './create-body.ts';
import { DockerFailure, launchFailure } from './failures.ts';
import { ALIAS_PREFIX, asReplica, endpointOf, isAlive, NOWHERE } from './found.ts';
import { isOfGateway, replicaLabels } from './labels.ts';
import type { PlaceFinder } from './place.ts';

const NAME_TRIES = 4;
const GONE_TRIES = 10;
const GONE_EVERY: Milliseconds = SECOND / 2;
const MAX_NAME = 100;

export interface LauncherOptions {
  readonly context: DriverContext;
  readonly settings: DockerSettings;
  readonly client: DockerClient;
  readonly place: PlaceFinder;
  /** A container that may be there or come to be, and that nobody wants: it is removed as soon as that can be done. */
  readonly unwanted: (container: string, replica: ReplicaRef) => void;
}

export class Launcher {
  readonly #options: LauncherOptions;

  constructor(options: LauncherOptions) {
    this.#options = options;
  }

  /** Resolves once it was started; it may be over already. @throws LaunchError */
  async launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<ContainerFacts> {
    try {
      return await this.#launch(spec, identity);
    } catch (error) {
      if (!isLostNetwork(error)) throw launchFailure(error);
    }
    // Somebody removed the network that was found once: it is looked for again, or made again.
    this.#options.place.forget();
    try {
      return await this.#launch(spec, identity);
    } catch (error) {
      throw launchFailure(error);
    }
  }

  async #launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<ContainerFacts> {
    const { client } = this.#options;
    const { container, running } = await this.#create(spec, identity);
    if (running !== null) return running;
    try {
      await client.start(container);
      const facts = await client.inspect(container);
      if (facts === undefined) throw new LaunchError('driver_unavailable', 'its container was removed at once.');
      if (isAlive(facts) && endpointOf(facts, portOf(spec, this.#options.settings)).origin === NOWHERE) {
        throw new LaunchError('driver_unavailable', 'Docker gave its container no address.');
      }
      return facts;
    } catch (error) {
      await this.#discard(container, identity);
      throw error;
    }
  }

  async #create(
    spec: LaunchSpec,
    identity: ReplicaIdentity,
  ): Promise<{ readonly container: string; readonly running: ContainerFacts | null }> {
    const { client, context, settings } = this.#options;
    const body = await this.#body(spec, identity);
    let name = containerName(settings.containerPrefix, identity, context.platform);
    for (let tries = 0; tries < NAME_TRIES; tries += 1) {
      try {
        return { container: await client.create(name, body), running: null };
      } catch (error) {
        if (!(error instanceof DockerFailure)) throw error;
        // Nobody knows whether it was made, or still will be.
        if (error.kind === 'timeout' || error.kind === 'lost') this.#options.unwanted(name, identity);
        if (error.status !== 409) throw error;
      }
      const holder = await client.inspect(name);
      if (holder === undefined) continue;
      if (!this.#isOurs(holder)) {
        context.notice?.(
          `The container '${name}' is not this gateway's, so it is left alone and another name is taken.`,
        );
        name = `${name}_${context.platform.random.hex(6)}`;
        continue;
      }
      if (isAlive(holder) && isReplica(holder, identity)) return { container: holder.Id, running: holder };
      await this.#removeStale(holder, name);
    }
    throw new LaunchError('driver_unavailable', 'Docker has a container of every name that was tried.');
  }

  async #body(spec: LaunchSpec, identity: ReplicaIdentity): Promise<CreateBody> {
    const { context, settings, place } = this.#options;
    const { platform, gatewayId } = context;
    if (spec.container === null) throw new LaunchError('bad_arguments', 'the model has no image to run.');
    const { daemon, surroundings } = await place.find();
    const port = portOf(spec, settings);
    const labels = replicaLabels(gatewayId, identity, { port, now: platform.clock.wall() });
    const mark = platform.sha256(`${gatewayId}\n${identity.id}\n${identity.generation}`).slice(0, 16);
    return replicaBody(
      spec,
      spec.container,
      { settings, daemon, surroundings, labels, environment: platform.env },
      { alias: `${ALIAS_PREFIX}${mark}`, tempFolder: `vllm-gateway/${safe(identity.model)}` },
    );
  }

  #isOurs(facts: ContainerFacts): boolean {
    return isOfGateway(facts.Config.Labels ?? {}, this.#options.context.gatewayId);
  }

  /** An own container of this name that is none any more: gone before another one is made. */
  async #removeStale(holder: ContainerFacts, name: string): Promise<void> {
    const { client, context } = this.#options;
    for (let tries = 0; tries < GONE_TRIES; tries += 1) {
      await client.remove(holder.Id);
      if ((await client.inspect(holder.Id)) === undefined) return;
      await context.platform.clock.sleep(GONE_EVERY);
    }
    throw new LaunchError('driver_unavailable', `an older container '${name}' of this gateway cannot be removed.`);
  }

  async #discard(container: string, replica: ReplicaRef): Promise<void> {
    const { client, unwanted } = this.#options;
    try {
      await client.remove(container);
      if ((await client.inspect(container)) === undefined) return;
    } catch {
      // The failed start is what is to be told.
    }
    unwanted(container, replica);
  }
}

function portOf(spec: LaunchSpec, settings: DockerSettings): number {
  return spec.port ?? settings.port;
}

function isReplica(facts: ContainerFacts, identity: ReplicaIdentity): boolean {
  const labels = asReplica(facts)?.labels;
  return (
    labels !== undefined &&
    labels.id === identity.id &&
    labels.generation === identity.generation &&
    labels.specHash === identity.specHash
  );
}

function isLostNetwork(error: unknown): boolean {
  return error instanceof DockerFailure && /network .*not found|could not find.*network/i.test(error.message);
}

/** One name per replica and generation, so that an attempt whose answer was lost is found by it. */
export function containerName(prefix: string, replica: ReplicaRef, platform: Pick<Platform, 'sha256'>): string {
  const plain = safe(replica.id);
  const mark = plain === replica.id ? '' : `-${platform.sha256(replica.id).slice(0, 8)}`;
  return `${prefix}_${plain}${mark}_${replica.generation}`;
}

/** Letters that a container's name and a folder's name may have. */
function safe(text: string): string {
  return text.replace(/[^a-zA-Z0-9_.-]/g, '-').slice(0, MAX_NAME);
}
