/** Where the gateway runs, seen from the daemon, and so over which network engines are reached. */
import type { DockerSettings } from '../../config/config.ts';
import type { Platform } from '../../platform/platform.ts';
import { LaunchError } from '../driver.ts';
import type { ContainerFacts, DockerClient } from './client.ts';
import { MANAGED } from './labels.ts';

export interface Surroundings {
  readonly network: string;
  /**
   * `name`: by a name of the network's own DNS; `address`: by the address of the container in it; `published`: by a port
   * of the loopback.
   */
  readonly reach: 'name' | 'address' | 'published';
}

type Reading = Pick<Platform, 'files' | 'env'>;

/**
 * The daemon mounts three files of each container from a folder named by its id. (On the host the mounts of all containers
 * are listed too, but none at these places.)
 */
const OWN_FILES = /\/containers\/([0-9a-f]{64})\/\S+ \/etc\/(?:hostname|hosts|resolv\.conf) /;

/** Networks of the daemon itself: they have no names. */
const BUILT_IN: ReadonlySet<string> = new Set(['bridge', 'host', 'none', 'default']);

export class SurroundingsFinder {
  readonly #client: DockerClient;
  readonly #settings: DockerSettings;
  readonly #platform: Reading;
  readonly #notice: (text: string) => void;

  constructor(
    client: DockerClient,
    settings: DockerSettings,
    platform: Reading,
    notice: (text: string) => void = () => {},
  ) {
    this.#client = client;
    this.#settings = settings;
    this.#platform = platform;
    this.#notice = notice;
  }

  /** @throws LaunchError when there is no way to reach engines; DockerFailure */
  async find(): Promise<Surroundings> {
    const { reach } = this.#settings;
    const own = reach === 'published' ? undefined : await this.#ownContainer();
    const hostNetwork = own?.HostConfig.NetworkMode === 'host';
    if (own === undefined || hostNetwork) {
      if (reach !== 'network') return { network: await this.#hostNetwork(), reach: 'published' };
      // The host has a leg in every bridge, but none of their names.
      return { network: await this.#hostNetwork(), reach: 'address' };
    }
    const network = this.#networkOf(own);
    return { network, reach: BUILT_IN.has(network) ? 'address' : 'name' };
  }

  /** The gateway's own container; undefined on the host, and where another daemon runs it. */
  async #ownContainer(): Promise<ContainerFacts | undefined> {
    const mounts = (await this.#platform.files.readText('/proc/self/mountinfo').catch(() => undefined)) ?? '';
    const named = OWN_FILES.exec(mounts)?.[1];
    const inside = named !== undefined || (await this.#platform.files.stat('/.dockerenv')) !== undefined;
    if (!inside) return undefined;
    if (named !== undefined) {
      const own = await this.#client.inspect(named);
      if (own !== undefined) return own;
    }
    const hostname = this.#platform.env['HOSTNAME'] ?? '';
    if (/^[0-9a-f]{12,64}$/.test(hostname)) {
      const own = await this.#client.inspect(hostname);
      if (own?.Id.startsWith(hostname) === true) return own;
    }
    const { gatewayContainer } = this.#settings;
    const own = await this.#client.inspect(gatewayContainer);
    if (own === undefined) {
      this.#notice(
        `The gateway's own container is not known to Docker (no container '${gatewayContainer}'; set drivers.docker.gateway_container, ` +
          'GATEWAY_CONTAINER_NAME): engines are reached as from the host.',
      );
    }
    return own;
  }

  /** Compose puts the name of its project before the name of a network. */
  #networkOf(own: ContainerFacts): string {
    const wanted = this.#settings.network;
    const names = Object.keys(own.NetworkSettings.Networks);
    const found = names.find((name) => name === wanted) ?? names.find((name) => name.endsWith(wanted));
    if (found !== undefined) return found;
    const other = names.find((name) => !BUILT_IN.has(name)) ?? names.find((name) => name === 'bridge');
    if (other === undefined) {
      throw new LaunchError(
        'driver_unavailable',
        `the gateway's container is in no network that engines could join (drivers.docker.network is '${wanted}').`,
      );
    }
    this.#notice(
      `The gateway's container is not in the network '${wanted}' (drivers.docker.network, DOCKER_NETWORK_NAME); engines join '${other}', in which it is.`,
    );
    return other;
  }

  /** On the host nobody has made the network yet, as a rule. */
  async #hostNetwork(): Promise<string> {
    const wanted = this.#settings.network;
    const networks = (await this.#client.networks()).filter((network) => network.driver !== 'null');
    const exact = networks.find((network) => network.name === wanted);
    if (exact !== undefined) return exact.name;
    const composed = networks.filter((network) => network.name.endsWith(`_${wanted}`));
    const [only] = composed;
    if (only !== undefined && composed.length === 1) return only.name;
    await this.#client.createNetwork(wanted, MANAGED);
    return wanted;
  }
}
