/** Calls of the Docker Engine that end: each has a deadline, and each failure one line for people. */
import type Docker from 'dockerode';
import type { Platform } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { ProbeError, excerpt } from '../reading/probe-error.ts';

/** For everything but a pull. A daemon under load takes seconds to create a container. */
export const CALL_LIMIT: Milliseconds = 10 * SECOND;

export class DockerConnection {
  readonly #platform: Pick<Platform, 'clock' | 'files'>;
  readonly #socket: string;
  #docker: Docker | null = null;

  constructor(platform: Pick<Platform, 'clock' | 'files'>, socket: string) {
    this.#platform = platform;
    this.#socket = socket.replace(/^unix:\/\//, '');
  }

  get socket(): string {
    return this.#socket;
  }

  /**
   * `what` names the call in the message. @throws ProbeError; `absent` when nothing listens on the socket
   */
  async call<T>(
    what: string,
    run: (docker: Docker, signal: AbortSignal) => Promise<T>,
    options: { readonly limit?: Milliseconds; readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    const limit = options.limit ?? CALL_LIMIT;
    const deadline = new AbortController();
    using _timer = this.#platform.clock.after(limit, () => {
      deadline.abort();
    });
    const signal = options.signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, options.signal]);
    const docker = await this.#client();
    try {
      // Raced, as a call that is past its answer's head no longer hears the signal.
      return await Promise.race([run(docker, signal), aborted(signal)]);
    } catch (error) {
      if (options.signal?.aborted === true) throw new ProbeError(`${what}: given up`);
      if (deadline.signal.aborted) throw new ProbeError(`${what}: Docker did not answer within ${limit / SECOND} s`);
      throw this.#explain(what, error);
    }
  }

  async #client(): Promise<Docker> {
    if (this.#docker === null) {
      // Loaded only where it is used: a machine without Docker never does.
      if ((await this.#platform.files.stat(this.#socket).catch(() => undefined)) === undefined) {
        throw new ProbeError(`Docker does not answer on ${this.#socket} (ENOENT)`, true);
      }
      const { default: Client } = await import('dockerode');
      this.#docker = new Client({
        socketPath: this.#socket,
        // Left out, they would come from DOCKER_HOST and what goes with it, and win over the socket.
        ...{ host: undefined, port: undefined, protocol: 'http', timeout: undefined },
        ...{ ca: undefined, cert: undefined, key: undefined },
        // A kept connection would be the one thing that does not survive a restart of the daemon.
        headers: { Connection: 'close' },
      });
    }
    return this.#docker;
  }

  #explain(what: string, error: unknown): ProbeError {
    if (error instanceof ProbeError) return error;
    const { code, statusCode, json, message } = error as DockerFailure;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return new ProbeError(`Docker does not answer on ${this.#socket} (${code})`, true);
    }
    if (code === 'EACCES' || code === 'EPERM')
      return new ProbeError(`Docker may not be asked on ${this.#socket} (${code})`);
    const failure = new DockerRefusal(
      `${what}: ${excerpt(json?.message ?? message ?? String(error))}`,
      statusCode ?? null,
    );
    return failure;
  }
}

/** The daemon answered, with an error. */
export class DockerRefusal extends ProbeError {
  /** Null when the connection broke instead. */
  readonly status: number | null;
  constructor(message: string, status: number | null, absent = false) {
    super(message, absent);
    this.status = status;
  }
}

interface DockerFailure {
  readonly code?: string;
  readonly statusCode?: number;
  readonly json?: { readonly message?: string } | null;
  readonly message?: string;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const give = (): void => {
      reject(new ProbeError('given up'));
    };
    if (signal.aborted) give();
    else signal.addEventListener('abort', give, { once: true });
  });
}
