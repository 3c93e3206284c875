/**
 * Finds out by itself how GPUs can be read: by nvidia-smi, else through Docker, else not at all. The first way that
 * answers is kept; until then each read looks again, as a driver or a daemon may come up after the gateway.
 */
import { ProbeError } from './reading/probe-error.ts';
import type { Probe, ProbeReading } from './probe.ts';

/** A probe that is costly to try. */
export interface HesitantProbe extends Probe {
  /** Null when trying is worth it, else why not. @throws ProbeError when that cannot be told */
  whyNot(): Promise<string | null>;
}

const NOTHING: ProbeReading = { devices: [], processes: null, driverVersion: null };

export class AutoProbe implements Probe {
  readonly observes = true;
  readonly #nvidia: Probe;
  readonly #docker: HesitantProbe | null;
  #chosen: Probe | null = null;
  #kind = 'auto';
  #detail = 'has not looked for GPUs yet';
  #looking: Promise<ProbeReading> | null = null;

  /** `docker` is null where containers get no GPUs. */
  constructor(nvidia: Probe, docker: HesitantProbe | null) {
    this.#nvidia = nvidia;
    this.#docker = docker;
  }

  get kind(): string {
    return this.#kind;
  }

  get detail(): string {
    return this.#detail;
  }

  read(): Promise<ProbeReading> {
    if (this.#chosen !== null) return this.#chosen.read();
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async close(): Promise<void> {
    await Promise.all([this.#nvidia.close(), this.#docker?.close()]);
  }

  async #look(): Promise<ProbeReading> {
    const first = await attempt(() => this.#nvidia.read());
    if (!(first instanceof ProbeError)) return this.#choose(this.#nvidia, first, 'it answers');
    const second = await this.#lookInDocker();
    if (!(second instanceof ProbeError) && this.#docker !== null)
      return this.#choose(this.#docker, second, first.message);
    const why = second instanceof ProbeError ? `${first.message}; ${second.message}` : first.message;
    // Something that should answer does not: GPUs may well be there, so this is a failure and no finding.
    const failed = [first, second].some((one) => one instanceof ProbeError && !one.absent);
    this.#kind = failed ? 'auto' : 'none';
    this.#detail = failed ? `cannot read GPUs: ${why}` : `finds no GPUs: ${why}`;
    if (failed) throw new ProbeError(why);
    return NOTHING;
  }

  async #lookInDocker(): Promise<ProbeReading | ProbeError> {
    const docker = this.#docker;
    if (docker === null) return new ProbeError('containers get no GPUs (drivers.docker.gpus: none)', true);
    const whyNot = await attempt(() => docker.whyNot());
    if (whyNot instanceof ProbeError) return whyNot;
    if (whyNot !== null) return new ProbeError(whyNot, true);
    return await attempt(() => docker.read());
  }

  #choose(probe: Probe, reading: ProbeReading, why: string): ProbeReading {
    this.#chosen = probe;
    this.#kind = probe.kind;
    this.#detail = `${probe.detail ?? probe.kind} (${why})`;
    return reading;
  }
}

async function attempt<T>(run: () => Promise<T>): Promise<T | ProbeError> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof ProbeError) return error;
    throw error;
  }
}
