/** Containers of a test, through the plain API of a daemon. */
import { callDocker } from './docker-call.ts';

export interface ContainerOptions {
  readonly image: string;
  readonly name?: string;
  readonly env?: readonly string[];
  /** `source:target[:ro]` */
  readonly binds?: readonly string[];
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly user?: string;
  readonly network?: string;
  readonly dropCapabilities?: readonly string[];
  readonly addCapabilities?: readonly string[];
}

export interface ContainerFacts {
  readonly running: boolean;
  readonly exitCode: number;
  /** As this machine numbers it; 0 when it does not run. */
  readonly pid: number;
  /** By network. */
  readonly addresses: ReadonlyMap<string, string>;
}

export interface Ran {
  readonly exitCode: number;
  /** stdout and stderr as they came. */
  readonly output: string;
}

export async function runContainer(socket: string, options: ContainerOptions): Promise<string> {
  const body = {
    Image: options.image,
    Env: options.env ?? [],
    ...(options.command === undefined ? {} : { Cmd: options.command }),
    ...(options.entrypoint === undefined ? {} : { Entrypoint: options.entrypoint }),
    ...(options.user === undefined ? {} : { User: options.user }),
    HostConfig: {
      Binds: options.binds ?? [],
      NetworkMode: options.network ?? 'none',
      CapDrop: options.dropCapabilities ?? [],
      CapAdd: options.addCapabilities ?? [],
    },
  };
  const query = options.name === undefined ? '' : `?name=${options.name}`;
  const created = await call(socket, 'POST', `/containers/create${query}`, JSON.stringify(body));
  const { Id: id } = JSON.parse(created) as { Id: string };
  await call(socket, 'POST', `/containers/${id}/start`);
  return id;
}

export async function containerFacts(socket: string, id: string): Promise<ContainerFacts> {
  const { State: state, NetworkSettings: network } = JSON.parse(
    await call(socket, 'GET', `/containers/${id}/json`),
  ) as {
    State: { Running: boolean; ExitCode: number; Pid: number };
    NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
  };
  const addresses = new Map(Object.entries(network.Networks).map(([name, { IPAddress }]) => [name, IPAddress]));
  return { running: state.Running, exitCode: state.ExitCode, pid: state.Pid, addresses };
}

/** Waits for its end. */
export async function containerEnd(socket: string, id: string): Promise<Ran> {
  const ended = JSON.parse(await call(socket, 'POST', `/containers/${id}/wait`)) as { StatusCode: number };
  return { exitCode: ended.StatusCode, output: await containerLog(socket, id) };
}

export async function containerLog(socket: string, id: string): Promise<string> {
  return unframed(await call(socket, 'GET', `/containers/${id}/logs?stdout=1&stderr=1`));
}

/** As `docker exec` does. */
export async function execIn(socket: string, id: string, command: readonly string[]): Promise<Ran> {
  const ask = JSON.stringify({ Cmd: command, AttachStdout: true, AttachStderr: true, Tty: true });
  const { Id: exec } = JSON.parse(await call(socket, 'POST', `/containers/${id}/exec`, ask)) as { Id: string };
  const output = await call(socket, 'POST', `/exec/${exec}/start`, JSON.stringify({ Detach: false, Tty: true }));
  const { ExitCode: exitCode } = JSON.parse(await call(socket, 'GET', `/exec/${exec}/json`)) as { ExitCode: number };
  return { exitCode, output };
}

export async function stopContainer(socket: string, id: string, seconds: number): Promise<void> {
  await call(socket, 'POST', `/containers/${id}/stop?t=${seconds}`);
}

export async function removeContainer(socket: string, id: string): Promise<void> {
  await call(socket, 'DELETE', `/containers/${id}?force=1&v=1`);
}

async function call(socket: string, method: string, path: string, body?: string): Promise<string> {
  const { status, text } = await callDocker(socket, method, path, body);
  if (status >= 400) throw new Error(`${method} ${path}: ${status} ${text}`);
  return text;
}

/** Without a terminal each piece of output has a head of eight bytes; they are not text, the texts here are. */
function unframed(text: string): string {
  return text.replaceAll(/[\u0001\u0002]\u0000{3}[^]{4}/g, '');
}
