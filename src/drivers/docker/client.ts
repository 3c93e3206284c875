/**
 * The Engine API as this driver needs it: every call has a deadline, few run at once, and every failure says whether the
 * daemon refused or could not be asked. https://docs.docker.com/reference/api/engine/
 */
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import type { Clock } from '../../platform/platform.ts';
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { DockerFailure, failureOf } from './failures.ts';
import { Lane } from './lane.ts';
import { asFacts, asList, notTheDaemon } from './replies.ts';

export const READ_LIMIT: Milliseconds = 5 * SECOND;
/** A busy disk makes a container slowly, and the hook of the GPU toolkit takes seconds. */
export const CREATE_LIMIT: Milliseconds = MINUTE;
export const CHANGE_LIMIT: Milliseconds = 10 * SECOND;
/** Of each kind: a daemon that hangs must not collect calls, and a slow create must not delay a look. */
const CALLS_AT_ONCE = 4;

export type CreateBody = Docker.ContainerCreateOptions;
export type ContainerFacts = Docker.ContainerInspectInfo;
export type ContainerSummary = Docker.ContainerInfo;

export interface DaemonFacts {
  readonly runtimes: readonly string[];
  /** Devices of the Container Device Interface, by name; empty where the daemon does not tell. */
  readonly cdiDevices: readonly string[];
}

export interface LogQuery {
  readonly follow: boolean;
  /** Null = all. */
  readonly tail: number | null;
  /** Seconds since 1970 with nanoseconds; lines from then on. */
  readonly since: string | null;
}

export class DockerClient {
  readonly #clock: Clock;
  readonly #socket: string;
  readonly #reads: Lane;
  readonly #changes: Lane;
  #docker: Docker | null = null;
  #trouble: string | null = null;

  constructor(clock: Clock, socket: string) {
    this.#clock = clock;
    this.#socket = socket.replace(/^unix:\/\//, '');
    this.#reads = new Lane(CALLS_AT_ONCE);
    this.#changes = new Lane(CALLS_AT_ONCE);
  }

  /** Why the daemon could not be asked the last time; null = it answered. */
  get trouble(): string | null {
    return this.#trouble;
  }

  async info(): Promise<DaemonFacts> {
    const info = await this.#read((docker, abortSignal) => (docker as unknown as Informant).info({ abortSignal }));
    return {
      runtimes: Object.keys(info.Runtimes ?? {}),
      cdiDevices: (info.DiscoveredDevices ?? []).flatMap((device) => (device.Source === 'cdi' ? [device.ID] : [])),
    };
  }

  /** Undefined when there is no such container. */
  inspect(container: string): Promise<ContainerFacts | undefined> {
    return absentAsUndefined(
      this.#read(async (docker, abortSignal) => asFacts(await docker.getContainer(container).inspect({ abortSignal }))),
    );
  }

  list(label: string): Promise<readonly ContainerSummary[]> {
    const filters = JSON.stringify({ label: [label] });
    return this.#read(async (docker, abortSignal) =>
      asList(await docker.listContainers({ all: true, filters, abortSignal }), 'Id'),
    );
  }

  /** Id of the image that the name stands for now; undefined when it is not there. */
  async imageId(name: string): Promise<string | undefined> {
    const facts = await absentAsUndefined(
      this.#read((docker, abortSignal) => docker.getImage(name).inspect({ abortSignal } as object)),
    );
    return facts?.Id;
  }

  async create(name: string, body: CreateBody): Promise<string> {
    // Told apart, as otherwise all of the body, its environment too, would stand in the address as well.
    const parts = { _query: { name }, _body: body };
    const container = await this.#change(CREATE_LIMIT, (docker, abortSignal) =>
      docker.createContainer({ ...parts, abortSignal }),
    );
    if (typeof container.id !== 'string') throw this.#failure(notTheDaemon());
    return container.id;
  }

  async start(container: string): Promise<void> {
    await this.#change(CREATE_LIMIT, (docker, abortSignal) => docker.getContainer(container).start({ abortSignal }));
  }

  /** False when it did not run any more. */
  async kill(container: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<boolean> {
    const killed = this.#change(CHANGE_LIMIT, (docker, abortSignal) =>
      docker.getContainer(container).kill({ signal, abortSignal }),
    );
    return withoutRefusal(killed, [404, 409]);
  }

  async unpause(container: string): Promise<void> {
    const unpaused = this.#change(CHANGE_LIMIT, (docker, abortSignal) =>
      docker.getContainer(container).unpause({ abortSignal }),
    );
    await withoutRefusal(unpaused, [404, 409, 500]);
  }

  /** With its anonymous volumes, even while it runs. Also done when somebody else removes it at this moment: see `inspect`. */
  async remove(container: string): Promise<void> {
    const removed = this.#change(CHANGE_LIMIT, (docker, abortSignal) =>
      docker.getContainer(container).remove({ force: true, v: true, abortSignal }),
    );
    await withoutRefusal(removed, [404, 409]);
  }

  /** Process ids as the daemon's machine numbers them. */
  async processIds(container: string): Promise<readonly number[]> {
    const top = (await this.#read((docker, abortSignal) =>
      docker.getContainer(container).top({ ps_args: '-o pid', abortSignal }),
    )) as { readonly Titles?: readonly string[]; readonly Processes?: readonly (readonly string[])[] };
    const column = top.Titles?.indexOf('PID') ?? -1;
    return (top.Processes ?? [])
      .map((row) => Number(row[column]))
      .filter((pid) => Number.isSafeInteger(pid) && pid > 0);
  }

  async networks(): Promise<readonly { readonly name: string; readonly driver: string }[]> {
    const all = await this.#read(async (docker, abortSignal) =>
      asList(await docker.listNetworks({ abortSignal } as object), 'Name'),
    );
    return all.map((network) => ({ name: network.Name, driver: network.Driver }));
  }

  /** Also done when somebody else has just made it. */
  async createNetwork(name: string, labels: Readonly<Record<string, string>>): Promise<void> {
    const created = this.#change(CHANGE_LIMIT, (docker, abortSignal) =>
      docker.createNetwork({ Name: name, Driver: 'bridge', CheckDuplicate: true, Labels: { ...labels }, abortSignal }),
    );
    await withoutRefusal(created, [409]);
  }

  /** One JSON object per line, about our containers. */
  events(label: string, signal: AbortSignal): Promise<Readable> {
    const filters = JSON.stringify({ type: ['container'], event: ['die', 'destroy'], label: [label] });
    return this.#open('GET', '/events', { filters }, signal);
  }

  /** Frames of `docker-stream`; each line begins with its time. */
  logs(container: string, query: LogQuery, signal: AbortSignal): Promise<Readable> {
    return this.#open(
      'GET',
      `/containers/${encodeURIComponent(container)}/logs`,
      {
        ...{ stdout: '1', stderr: '1', timestamps: '1', follow: query.follow ? '1' : '0' },
        tail: query.tail === null ? 'all' : String(query.tail),
        ...(query.since === null ? {} : { since: query.since }),
      },
      signal,
    );
  }

  /** One JSON object per line, as long as it goes on. */
  pull(name: string, signal: AbortSignal): Promise<Readable> {
    return this.#open('POST', '/images/create', pullQuery(name), signal);
  }

  #read<T>(run: Call<T>): Promise<T> {
    return this.#reads.run(() => this.#call(READ_LIMIT, run));
  }

  #change<T>(limit: Milliseconds, run: Call<T>): Promise<T> {
    return this.#changes.run(() => this.#call(limit, run));
  }

  /** `isExcused`: true for a failure that is no fault of the daemon, as we ended the call ourselves or a registry did not answer. */
  async #call<T>(
    limit: Milliseconds,
    run: Call<T>,
    isExcused: (failure: DockerFailure) => boolean = () => false,
  ): Promise<T> {
    const docker = await this.#client();
    const deadline = new AbortController();
    const late = new Promise<never>((_resolve, reject) => {
      deadline.signal.addEventListener('abort', () => {
        reject(new DockerFailure('timeout', null, `it did not answer within ${limit / SECOND} s`));
      });
    });
    using _timer = this.#clock.after(limit, () => {
      deadline.abort();
    });
    try {
      // Raced: an answer whose connection breaks in its middle never ends for the library.
      const result = await Promise.race([run(docker, deadline.signal), late]);
      this.#trouble = null;
      return result;
    } catch (error) {
      const failure = failureOf(error);
      throw isExcused(failure) ? failure : this.#failure(failure);
    }
  }

  /** Resolves with the body once the head is there; aborting destroys it. */
  #open(
    method: 'GET' | 'POST',
    path: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Readable> {
    // A pull answers its head once the registry was asked, which takes its time.
    const isPull = method === 'POST';
    const limit = isPull ? CREATE_LIMIT : READ_LIMIT;
    const isExcused = ({ kind }: DockerFailure): boolean => signal.aborted || (isPull && kind === 'timeout');
    const open: Call<Readable> = async ({ modem }, deadline) => {
      // The deadline is for the head; what follows ends with the signal, which destroys the connection.
      const abortSignal = AbortSignal.any([signal, deadline]);
      const body = await new Promise<Readable>((resolve, reject) => {
        const options = { path: `${path}?`, method, options: { ...query }, abortSignal, statusCodes: { 200: true } };
        modem.dial({ ...options, isStream: true }, (error: unknown, stream) => {
          if (error === null || error === undefined) resolve(stream as Readable);
          else reject(error instanceof Error ? error : new Error(String(error)));
        });
      });
      // Whoever reads it hears of an error as of any other end; until then nobody may miss a listener.
      body.on('error', () => {});
      return body;
    };
    return this.#call(limit, open, isExcused);
  }

  #failure(error: unknown): DockerFailure {
    const failure = failureOf(error);
    this.#trouble = failure.status === null ? failure.sentence() : null;
    return failure;
  }

  async #client(): Promise<Docker> {
    if (this.#docker === null) {
      try {
        // Loaded here and not above: it brings a gRPC stack, and most configurations never use it.
        const { default: Client } = await import('dockerode');
        this.#docker = new Client({
          socketPath: this.#socket,
          // Left out, they would come from DOCKER_HOST and what goes with it, and win over the socket.
          ...{ host: undefined, port: undefined, protocol: 'http', timeout: undefined },
          ...{ ca: undefined, cert: undefined, key: undefined },
          // A kept connection would be the one thing that does not survive a restart of the daemon.
          headers: { Connection: 'close' },
        });
      } catch (error) {
        throw this.#failure(error);
      }
    }
    return this.#docker;
  }
}

type Call<T> = (docker: Docker, abortSignal: AbortSignal) => Promise<T>;

/** Its types know neither the argument nor all that the daemon tells. */
interface Informant {
  info(options: { readonly abortSignal: AbortSignal }): Promise<DaemonInfo>;
}

interface DaemonInfo {
  readonly Runtimes?: Readonly<Record<string, unknown>> | null;
  readonly DiscoveredDevices?: readonly { readonly Source: string; readonly ID: string }[] | null;
}

/** Without a tag the daemon would fetch every tag that there is. */
function pullQuery(name: string): Record<string, string> {
  const [repository = name, digest] = name.split('@');
  if (digest !== undefined) return { fromImage: repository, tag: digest };
  const colon = name.lastIndexOf(':');
  if (colon > name.lastIndexOf('/')) return { fromImage: name.slice(0, colon), tag: name.slice(colon + 1) };
  return { fromImage: name, tag: 'latest' };
}

async function absentAsUndefined<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof DockerFailure && error.status === 404) return undefined;
    throw error;
  }
}

/** False when it was refused with one of these, which mean that it was done already. */
async function withoutRefusal(call: Promise<unknown>, statuses: readonly number[]): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    if (error instanceof DockerFailure && error.status !== null && statuses.includes(error.status)) return false;
    throw error;
  }
}
