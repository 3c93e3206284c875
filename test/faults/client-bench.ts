/** A whole gateway whose clients are written byte by byte, with every socket of both its sides in sight. */
import { connect, type Socket } from 'node:net';
import { expect } from 'vitest';
import { systemNetwork } from '../../src/proxy/network.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from '../support/in-process-gateway.ts';
import { engineStats, metric, untilAtRest } from '../support/simulated-fleet.ts';

export interface AccessLine {
  readonly msg: string;
  readonly model: string;
  readonly status: number;
  readonly outcome: string;
  readonly code?: string;
  readonly route: string;
}

export class ClientBench implements AsyncDisposable {
  readonly gateway: TestGateway;
  /** The gateway's ends of its clients' connections, in the order they came. */
  readonly accepted: readonly Socket[];
  /** The gateway's ends of its connections to engines. */
  readonly dialled: readonly Socket[];
  /** By the port of its client. */
  readonly #byPort: ReadonlyMap<number | undefined, Socket>;
  readonly #detour: { port: number | null };
  readonly #clients = new Set<Socket>();

  constructor(parts: {
    readonly gateway: TestGateway;
    readonly accepted: readonly Socket[];
    readonly byPort: ReadonlyMap<number | undefined, Socket>;
    readonly dialled: readonly Socket[];
    readonly detour: { port: number | null };
  }) {
    this.gateway = parts.gateway;
    this.accepted = parts.accepted;
    this.dialled = parts.dialled;
    this.#byPort = parts.byPort;
    this.#detour = parts.detour;
  }

  /** A port that all connections to engines go to instead; null = none. */
  set detour(port: number | null) {
    this.#detour.port = port;
  }

  /** A connection on which this is written first. `allowHalfOpen`, so that the end of the gateway's side ends nothing else. */
  client(bytes: string | Buffer = ''): Client {
    const client = new Client(this.gateway.port, bytes);
    this.#clients.add(client.socket);
    client.socket.once('close', () => this.#clients.delete(client.socket));
    return client;
  }

  /** The gateway's end of a client's connection. */
  acceptedOf({ socket }: Client): Promise<Socket> {
    return eventually('the connection is accepted', () => this.#byPort.get(socket.localPort));
  }

  /** Access lines so far, of one model or of all. */
  lines(model?: string): readonly AccessLine[] {
    return this.gateway.lines.flatMap((text) => {
      const line = JSON.parse(text) as AccessLine;
      return line.msg === 'request' && (model === undefined || line.model === model) ? [line] : [];
    });
  }

  metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return metric(this.gateway, name, labels);
  }

  /** Nothing is held, here or at these engines, and they serve. */
  async recovered(models: readonly string[]): Promise<void> {
    this.detour = null;
    for (const socket of this.#clients) socket.destroy();
    await untilAtRest(this.gateway);
    for (const model of models) {
      const answer = await this.gateway.post('/v1/chat/completions', {
        model,
        messages: [{ role: 'user', content: 'Hi' }],
      });
      expect([model, answer.status, (await answer.text()).includes('chat.completion')]).toEqual([model, 200, true]);
      await eventually(`the engine of ${model} rests`, async () => {
        const { running, waiting } = await engineStats(this.gateway, model);
        return running + waiting === 0;
      });
    }
    expect(this.gateway.lines.filter((line) => line.includes('failed in the gateway'))).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#clients) socket.destroy();
    await this.gateway[Symbol.asyncDispose]();
  }
}

export class Client {
  readonly socket: Socket;
  /** Resolves with all that came, when the gateway has ended its side or reset the connection. */
  readonly end: Promise<string>;
  #heard = '';

  constructor(port: number, bytes: string | Buffer) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.socket.on('data', (data: Buffer) => (this.#heard += data.toString('latin1')));
    this.socket.on('error', () => undefined);
    this.end = new Promise((resolve) => {
      this.socket.once('end', () => resolve(this.#heard));
      this.socket.once('close', () => resolve(this.#heard));
    });
    if (bytes.length > 0) this.socket.write(bytes);
  }

  get heard(): string {
    return this.#heard;
  }

  hears(text: string): Promise<true> {
    return eventually(`the client hears ${JSON.stringify(text)}`, () => this.#heard.includes(text));
  }
}

/** A chat request as bytes. */
export function chat(model: string, more: Readonly<Record<string, unknown>> = {}): string {
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hi' }], ...more });
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** One that streams for minutes. */
export const endless = (model: string): string => chat(model, { stream: true, fake: { tokens: 10_000, token_ms: 5 } });

export const hanging = (model: string): string => chat(model, { fake: { fault: 'hang' } });

export interface ClientBenchOptions extends Omit<TestGatewayOptions, 'network'> {
  /** Instead of the limit that the gateway sets itself. */
  readonly maxConnections?: number;
}

export async function startClientBench({ maxConnections, ...options }: ClientBenchOptions): Promise<ClientBench> {
  const accepted: Socket[] = [];
  const byPort = new Map<number | undefined, Socket>();
  const dialled: Socket[] = [];
  const detour: { port: number | null } = { port: null };
  const gateway = await startTestGateway({
    ...options,
    network: {
      connect: (to) => {
        const socket = systemNetwork.connect(detour.port === null ? to : { ...to, port: detour.port });
        dialled.push(socket);
        return socket;
      },
      createServer: (how) => {
        const server = systemNetwork.createServer(how);
        server.on('connection', (socket) => {
          accepted.push(socket);
          byPort.set(socket.remotePort, socket);
        });
        if (maxConnections !== undefined) server.on('listening', () => (server.maxConnections = maxConnections));
        return server;
      },
    },
  });
  return new ClientBench({ gateway, accepted, byPort, dialled, detour });
}
