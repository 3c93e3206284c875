/** A Hugging Face hub on loopback that records what it is asked: API, files, large files on a second origin, gates, faults. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StubFile {
  readonly body?: string | Uint8Array;
  /** Of a file whose bytes are not needed. */
  readonly size?: number;
  /** In large-file storage: its address redirects to the second origin, which says its size. */
  readonly large?: boolean;
}

export interface StubRepo {
  readonly files: Readonly<Record<string, StubFile>>;
  /** Further fields of the answer of the API: `safetensors`, `cardData`. */
  readonly info?: Readonly<Record<string, unknown>>;
  /** The API's list of files leaves sizes out. */
  readonly withoutSizes?: boolean;
  /** Files answer only to this token. */
  readonly token?: string;
}

export interface StubRequest {
  readonly origin: 'hub' | 'storage';
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly authorization: string | undefined;
}

export class HubStub implements AsyncDisposable {
  readonly repos = new Map<string, StubRepo>();
  readonly asked: StubRequest[] = [];
  /** Answers in place of the hub when it returns true. */
  interfere: (request: IncomingMessage, reply: ServerResponse) => boolean = () => false;
  readonly #hub: Server;
  readonly #storage: Server;

  private constructor() {
    this.#hub = createServer((request, reply) => this.#answer('hub', request, reply));
    this.#storage = createServer((request, reply) => this.#answer('storage', request, reply));
  }

  static async start(): Promise<HubStub> {
    const stub = new HubStub();
    for (const server of [stub.#hub, stub.#storage]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
    return stub;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storageUrl(): string {
    return `http://127.0.0.1:${(this.#storage.address() as AddressInfo).port}`;
  }

  /** `METHOD path` of what the hub itself was asked, oldest first. */
  get paths(): readonly string[] {
    return this.asked.filter(({ origin }) => origin === 'hub').map(({ method, path }) => `${method} ${path}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #answer(origin: 'hub' | 'storage', request: IncomingMessage, reply: ServerResponse): void {
    const { method = 'GET', url = '/' } = request;
    this.asked.push({ origin, method, path: url, authorization: request.headers.authorization });
    if (this.interfere(request, reply)) return;
    const path = new URL(url, 'http://stub').pathname;
    const api = /^\/api\/models\/(.+?)(?:\/revision\/([^/]+))?$/.exec(path);
    const file = /^\/(.+)\/resolve\/[^/]+\/(.+)$/.exec(path);
    const repo = this.repos.get(api?.[1] ?? file?.[1] ?? '');
    if (repo === undefined) return send(reply, 404, {}, '{"error":"Repository not found"}');
    if (api !== null) return send(reply, 200, {}, JSON.stringify(infoOf(repo)));
    const found = repo.files[decodeURIComponent(file?.[2] ?? '')];
    if (found === undefined) return send(reply, 404, {}, 'Entry not found');
    if (origin === 'storage') return sendFile(reply, request, found);
    if (repo.token !== undefined && request.headers.authorization !== `Bearer ${repo.token}`) {
      return send(reply, request.headers.authorization === undefined ? 401 : 403, {}, '{"error":"gated"}');
    }
    if (found.large !== true) return sendFile(reply, request, found);
    send(reply, 302, { location: `${this.storageUrl}${url}`, 'x-linked-size': String(sizeOf(found)) }, '');
  }
}

function infoOf(repo: StubRepo): unknown {
  const siblings = Object.entries(repo.files).map(([rfilename, file]) =>
    repo.withoutSizes === true ? { rfilename } : { rfilename, size: sizeOf(file) },
  );
  return { siblings, ...repo.info };
}

const sizeOf = (file: StubFile): number => file.size ?? Buffer.from(file.body ?? '').length;

function sendFile(reply: ServerResponse, request: IncomingMessage, file: StubFile): void {
  const whole = Buffer.from(file.body ?? '');
  const last = /^bytes=0-(\d+)$/.exec(request.headers.range ?? '')?.[1];
  const body = last === undefined ? whole : whole.subarray(0, Number(last) + 1);
  const head = request.method === 'HEAD';
  reply.writeHead(last === undefined ? 200 : 206, { 'content-length': head ? sizeOf(file) : body.length });
  reply.end(head ? undefined : body);
}

function send(reply: ServerResponse, status: number, headers: Readonly<Record<string, string>>, body: string): void {
  reply.writeHead(status, { 'content-type': 'application/json', ...headers });
  reply.end(body);
}
