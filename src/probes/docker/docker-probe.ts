/**
 * GPUs as seen from a container: for a gateway that sees none itself. One helper container lives as long as the gateway
 * and answers each reading over its attached streams; nothing runs in it between two readings.
 */
import type { DockerSettings } from '../../config/config.ts';
import type { Platform } from '../../platform/platform.ts';
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { ProbeError } from '../reading/probe-error.ts';
import { DockerConnection } from './docker-connection.ts';
import { gpuQuery, refusesMig, toReading, type DeviceNames } from '../reading/gpu-tables.ts';
import type { ProbeAnswer } from './probe-stream.ts';
import {
  hasImage,
  removeContainers,
  startContainer,
  type ProbeContainer,
  type ContainerOptions,
} from './probe-container.ts';
import { Pacing, READ_LIMIT } from '../reading/pacing.ts';
import type { Probe, ProbeReading } from '../probe.ts';

/** A read that finds no helper waits so long for it; a pull goes on behind. */
const CONTAINER_WAIT: Milliseconds = 4 * SECOND;
const CLOSE_LIMIT: Milliseconds = 5 * SECOND;
const FIRST_PAUSE: Milliseconds = 2 * SECOND;
const LONGEST_PAUSE: Milliseconds = 30 * SECOND;
/** A helper that lived so long is replaced at once. */
const STEADY: Milliseconds = MINUTE;

export interface DockerProbeOptions {
  readonly platform: Platform;
  readonly docker: DockerSettings;
  readonly gatewayId: string;
  readonly names: DeviceNames;
}

export class DockerProbe implements Probe {
  readonly kind = 'docker';
  readonly observes = true;
  readonly detail: string;
  readonly #names: DeviceNames;
  readonly #containerOptions: ContainerOptions;
  readonly #clock: Platform['clock'];
  readonly #pacing: Pacing;
  readonly #closing = new AbortController();
  #starting: Promise<ProbeContainer> | null = null;
  #container: ProbeContainer | null = null;
  #phase = 'starting';
  #asked = false;
  #pause: Milliseconds = 0;
  #notBefore: Milliseconds = Number.NEGATIVE_INFINITY;
  #failure: ProbeError | null = null;
  #withMig = true;

  constructor({ platform, docker, gatewayId, names }: DockerProbeOptions) {
    this.#names = names;
    this.#clock = platform.clock;
    this.#pacing = new Pacing(platform.clock, CONTAINER_WAIT + READ_LIMIT);
    const connection = new DockerConnection(platform, docker.socket);
    this.#containerOptions = { platform, docker, gatewayId, connection };
    this.detail = `reads GPUs with a helper container of ${docker.probeImage} (${connection.socket})`;
  }

  read(): Promise<ProbeReading> {
    return this.#pacing.read(() => this.#read());
  }

  /**
   * Null when a helper is likely to see GPUs, else why not. Asks the daemon what it can do and pulls nothing.
   * @throws ProbeError when Docker does not answer
   */
  async whyNot(): Promise<string | null> {
    const { connection, docker: settings } = this.#containerOptions;
    const info = (await connection.call('asking Docker what it is', (docker, abortSignal) =>
      // Its types know no argument.
      (docker.info as (options: object) => Promise<unknown>).call(docker, { abortSignal }),
    )) as DockerFacts;
    const runtime = Object.keys(info.Runtimes ?? {}).some((name) => name.startsWith('nvidia'));
    const injected = (info.DiscoveredDevices ?? []).some(({ ID }) => ID?.startsWith('nvidia.com/') === true);
    if (runtime || injected || (await hasImage(this.#containerOptions))) return null;
    return `Docker has no NVIDIA runtime and no image ${settings.probeImage}`;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const over = new AbortController();
    const ended = async (): Promise<void> => {
      const present = this.#container ?? (await this.#starting?.catch(() => null)) ?? null;
      present?.stream.destroy();
      // Nothing was started, nothing is there: Docker need not be asked.
      if (this.#asked) await removeContainers(this.#containerOptions);
    };
    const work = ended().catch(() => {
      // It ends with its input all the same, and the next start looks for its label.
    });
    await Promise.race([work, this.#clock.sleep(CLOSE_LIMIT, over.signal).catch(() => {})]);
    over.abort();
  }

  async #read(): Promise<ProbeReading> {
    const { stream } = await this.#present();
    const first = await stream.ask(gpuQuery(this.#withMig), READ_LIMIT);
    if (!this.#withMig || !refusesMig(first.gpus)) return this.#toReading(first);
    this.#withMig = false;
    return this.#toReading(await stream.ask(gpuQuery(false), READ_LIMIT));
  }

  #toReading({ gpus, processes }: ProbeAnswer): ProbeReading {
    return toReading(gpus, processes, this.#names, this.#withMig);
  }

  /** The helper, once it is there. @throws ProbeError when it is not there in time, or could not be started lately */
  async #present(): Promise<ProbeContainer> {
    if (this.#container !== null) return this.#container;
    if (this.#closing.signal.aborted) throw new ProbeError('the probe is closed');
    if (this.#failure !== null && this.#clock.monotonic() < this.#notBefore) throw this.#failure;
    this.#starting ??= this.#start();
    const over = new AbortController();
    const late = this.#clock.sleep(CONTAINER_WAIT, over.signal).then(
      () => null,
      () => null,
    );
    try {
      const present = await Promise.race([this.#starting, late]);
      if (present === null) throw new ProbeError(`its helper container is not there yet: ${this.#phase}`);
      return present;
    } finally {
      over.abort();
    }
  }

  /** Goes on behind a read that waited for it in vain. */
  #start(): Promise<ProbeContainer> {
    this.#asked = true;
    const starting = startContainer(this.#containerOptions, this.#closing.signal, (phase) => {
      this.#phase = phase;
    }).then((started) => {
      const since = this.#clock.monotonic();
      this.#starting = null;
      if (started.stream.end !== null) throw started.stream.end;
      this.#container = started;
      this.#failure = null;
      started.stream.onEnd((reason) => {
        this.#container = null;
        if (this.#clock.monotonic() - since >= STEADY) this.#pause = 0;
        this.#rest(reason);
      });
      return started;
    });
    starting.catch((error: unknown) => {
      this.#starting = null;
      this.#rest(error instanceof ProbeError ? error : new ProbeError(String(error)));
    });
    return starting;
  }

  /** No other start for a while: longer each time, but a daemon that comes back is soon found. */
  #rest(reason: ProbeError): void {
    this.#pause = reason.absent ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, Math.max(FIRST_PAUSE, 2 * this.#pause));
    this.#notBefore = this.#clock.monotonic() + this.#pause;
    this.#failure = reason;
  }
}

interface DockerFacts {
  readonly Runtimes?: Readonly<Record<string, unknown>>;
  readonly DiscoveredDevices?: readonly { readonly ID?: string }[];
}
