/**
 * A Docker daemon on paper: answers over a real socket, writes down what it was asked, runs nothing. For requests that no
 * test machine can fulfil (GPUs) and answers that no daemon gives on demand (hangs, refusals, broken streams).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Asked {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: unknown;
}

export interface PaperContainer {
  readonly id: string;
  readonly name: string;
  readonly body: CreatedBody;
  state: 'created' | 'running' | 'exited';
  exitCode: number;
  oomKilled: boolean;
  startedAt?: string;
  /** Somebody took it out of its networks. */
  disconnected?: boolean;
}

export interface CreatedBody {
  readonly Image: string;
  readonly Env: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly Entrypoint?: readonly string[];
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly HostConfig: {
    readonly Binds: readonly string[];
    readonly IpcMode?: string;
    readonly ShmSize?: number;
    readonly NetworkMode: string;
    readonly DeviceRequests?: readonly object[];
    readonly PortBindings?: Readonly<Record<string, readonly { HostIp: string; HostPort: string }[]>>;
  };
  readonly NetworkingConfig: { readonly EndpointsConfig: Readonly<Record<string, { readonly Aliases?: string[] }>> };
}

type Answer = (asked: Asked, response: ServerResponse) => void;

export class RecordingDocker {
  readonly asked: Asked[] = [];
  readonly containers = new Map<string, PaperContainer>();
  readonly images = new Map<string, string>([['vllm/vllm-openai:v0.16.0', 'sha256:1']]);
  readonly networks: { Name: string; Driver: string }[] = [{ Name: 'vllm_network', Driver: 'bridge' }];
  info: object = { Runtimes: { runc: {} } };
  /** Containers that are not this gateway's doing, by id or name: what `inspect` answers. */
  readonly others = new Map<string, object>();
  /** Calls under way. */
  open = 0;
  mostOpen = 0;
  readonly #folder = mkdtempSync(join(tmpdir(), 'vgw-paper-docker-'));
  readonly socket = join(this.#folder, 'docker.sock');
  readonly #answers: { readonly method: string; readonly path: RegExp; readonly answer: Answer }[] = [];
  readonly #eventStreams = new Set<ServerResponse>();
  #server: Server | null = null;
  #next = 1;

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.socket, resolve));
  }

  /** From now on this is what it says; the newest that matches. */
  on(method: string, path: RegExp, answer: Answer): void {
    this.#answers.unshift({ method, path, answer });
  }

  /** What it was told to say holds no longer. */
  sayTheTruth(): void {
    this.#answers.length = 0;
  }

  /** What was asked of a path, oldest first. */
  of(method: string, path: RegExp): Asked[] {
    return this.asked.filter((asked) => asked.method === method && path.test(asked.path));
  }

  created(): readonly CreatedBody[] {
    return this.of('POST', /^\/containers\/create$/).map(({ body }) => body as CreatedBody);
  }

  emit(event: object): void {
    for (const stream of this.#eventStreams) stream.write(`${JSON.stringify(event)}\n`);
  }

  get watchers(): number {
    return this.#eventStreams.size;
  }

  breakEvents(): void {
    for (const stream of this.#eventStreams) stream.destroy();
    this.#eventStreams.clear();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '/', 'http://docker');
    const text = Buffer.concat(chunks).toString('utf8');
    const asked: Asked = {
      ...{ method: request.method ?? '', path: url.pathname, query: url.searchParams },
      body: text === '' ? null : JSON.parse(text),
    };
    this.asked.push(asked);
    this.open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    response.once('close', () => {
      this.open -= 1;
    });
    const special = this.#answers.find(({ method, path }) => method === asked.method && path.test(asked.path));
    if (special !== undefined) special.answer(asked, response);
    else this.#usual(asked, response);
  }

  #usual(asked: Asked, response: ServerResponse): void {
    const { method, path, query } = asked;
    const known = /^\/containers\/([^/]+)(?:\/(\w+))?$/.exec(path);
    if (path === '/info') json(response, 200, this.info);
    else if (path === '/networks') json(response, 200, this.networks);
    else if (path === '/networks/create') this.#createNetwork(asked, response);
    else if (path === '/events') this.#openEvents(response);
    else if (path === '/containers/json') json(response, 200, this.#summaries());
    else if (path === '/containers/create') this.#create(query.get('name') ?? '', asked.body as CreatedBody, response);
    else if (path.startsWith('/images/')) this.#image(path, response);
    else if (known !== null) this.#container(method, decodeURIComponent(known[1] ?? ''), known[2] ?? '', response);
    else json(response, 404, { message: 'page not found' });
  }

  #openEvents(response: ServerResponse): void {
    this.open -= 1;
    response.writeHead(200).flushHeaders();
    this.#eventStreams.add(response);
    response.once('close', () => {
      this.open += 1;
      this.#eventStreams.delete(response);
    });
  }

  #createNetwork({ body }: Asked, response: ServerResponse): void {
    const { Name } = body as { Name: string };
    this.networks.push({ Name, Driver: 'bridge' });
    json(response, 201, { Id: Name });
  }

  #image(path: string, response: ServerResponse): void {
    const name = decodeURIComponent(path.replace(/^\/images\//, '').replace(/\/json$/, ''));
    const id = this.images.get(name);
    if (id === undefined) json(response, 404, { message: `No such image: ${name}` });
    else json(response, 200, { Id: id });
  }

  #create(name: string, body: CreatedBody, response: ServerResponse): void {
    const holder = [...this.containers.values()].find((container) => container.name === name);
    if (holder !== undefined || this.others.has(name)) {
      const message = `Conflict. The container name "/${name}" is already in use by container "${holder?.id ?? 'x'}".`;
      json(response, 409, { message });
      return;
    }
    const id = String(this.#next++).padStart(64, '0');
    this.containers.set(id, { id, name, body, state: 'created', exitCode: 0, oomKilled: false });
    json(response, 201, { Id: id, Warnings: [] });
  }

  #container(method: string, key: string, action: string, response: ServerResponse): void {
    const other = this.others.get(key);
    const found = [...this.containers.values()].find(({ id, name }) => id === key || name === key);
    if (action === 'json' && other !== undefined) json(response, 200, other);
    else if (found === undefined) json(response, 404, { message: `No such container: ${key}` });
    else if (method === 'DELETE') {
      this.containers.delete(found.id);
      response.writeHead(204).end();
    } else if (action === 'json') json(response, 200, this.#facts(found));
    else if (action === 'start') {
      found.state = 'running';
      response.writeHead(204).end();
    } else if (action === 'kill') {
      Object.assign(found, { state: 'exited', exitCode: 137 });
      response.writeHead(204).end();
    } else response.writeHead(200).end();
  }

  #summaries(): object[] {
    return [...this.containers.values()].map(({ id, name, body, state }) => ({
      ...{ Id: id, Names: [`/${name}`], Labels: body.Labels, State: state },
    }));
  }

  #facts(container: PaperContainer): object {
    const { id, name, body, state, exitCode, oomKilled, startedAt } = container;
    const network = body.HostConfig.NetworkMode;
    const aliases = body.NetworkingConfig.EndpointsConfig[network]?.Aliases ?? [];
    const ports = Object.keys(body.HostConfig.PortBindings ?? {});
    const running = state === 'running';
    return {
      ...{ Id: id, Name: `/${name}`, Image: this.images.get(body.Image) ?? 'sha256:?' },
      Config: { Image: body.Image, Labels: body.Labels, Env: body.Env },
      State: {
        Status: state,
        Running: running,
        Paused: false,
        Restarting: false,
        Pid: 4711,
        ExitCode: exitCode,
        OOMKilled: oomKilled,
        StartedAt: startedAt ?? '2026-01-01T00:00:00Z',
      },
      HostConfig: body.HostConfig,
      NetworkSettings: {
        Ports: running
          ? Object.fromEntries(ports.map((port) => [port, [{ HostIp: '127.0.0.1', HostPort: '32768' }]]))
          : {},
        Networks:
          container.disconnected === true
            ? {}
            : { [network]: { Aliases: aliases, IPAddress: running ? '10.0.0.7' : '' } },
      },
    };
  }
}

export function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
