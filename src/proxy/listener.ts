/** Node's HTTP server with every limit set: what strangers send is parsed here and nowhere else. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { gatewayError, type GatewayError } from '../errors.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { ClientConnection } from './client-connection.ts';
import type { Front } from './front.ts';
import {
  CONNECTIONS_CHECK,
  HEADERS_TIMEOUT,
  KEEP_ALIVE,
  MAX_HEADER_BYTES,
  MAX_PIPELINED,
  MAX_REQUESTS_PER_SOCKET,
  REQUEST_TIMEOUT,
} from './limits.ts';
import { rowOf, statusOf } from './reply.ts';
import { RequestLedger } from './request-ledger.ts';
import type { Ticking } from './ticker.ts';
import type { World } from './world.ts';

/** Connections that the system may hold before we accept them: a burst of a thousand must not be refused. */
const BACKLOG = 4_096;

export class Listener implements Ticking {
  private readonly world: World;
  private readonly front: Front;
  private readonly server: Server;
  private readonly connections = new Map<Socket, ClientConnection>();
  private sweptAt: Milliseconds = 0;
  private place: number | null = null;

  constructor(world: World, front: Front, maxConnections: number) {
    this.world = world;
    this.front = front;
    this.server = world.network.createServer({
      headersTimeout: HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      connectionsCheckingInterval: CONNECTIONS_CHECK,
      keepAliveTimeout: KEEP_ALIVE,
      maxHeaderSize: MAX_HEADER_BYTES,
      noDelay: true,
      insecureHTTPParser: false,
      // Checked in head-rules.ts, so that the refusal has the shape of all others.
      requireHostHeader: false,
    });
    // Any other value hides later fields from us while the parser still frames by them.
    this.server.maxHeadersCount = 0;
    this.server.maxRequestsPerSocket = MAX_REQUESTS_PER_SOCKET;
    this.server.maxConnections = maxConnections;
    this.listenToServer();
  }

  listen(address: { readonly host: string; readonly port: number }): Promise<{ port: number }> {
    const { server } = this;
    const { handed } = this.world.network;
    if (handed) {
      handed.attach(server);
      return Promise.resolve({ port: address.port });
    }
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.world.telemetry.log.error({ err: error }, 'a listener failed'));
        resolve({ port: (server.address() as AddressInfo).port });
      });
    });
  }

  /** No new connections; resolves when the last one is closed. */
  async stopAccepting(): Promise<void> {
    await Promise.all(this.unsent().map((socket) => new Promise((resolve) => socket.write('', resolve))));
    if (this.world.network.handed) return this.world.network.handed.detach();
    await new Promise<void>((resolve) => {
      if (!this.server.listening) resolve();
      else this.server.close(() => resolve());
      this.server.closeIdleConnections();
    });
  }

  /** As far as it can be done without harm. */
  closeIdle(): void {
    if (this.unsent().length === 0) this.server.closeIdleConnections();
  }

  /** Node takes a connection for idle once its answer is written, sent or not, and would cut the end of it off. */
  private unsent(): readonly Socket[] {
    return [...this.connections.keys()].filter(({ writable, writableLength }) => writable && writableLength > 0);
  }

  closeAll(): void {
    this.server.closeAllConnections();
    for (const socket of [...this.connections.keys()]) socket.destroy();
  }

  tick(now: Milliseconds): void {
    if (this.world.draining) this.closeIdle();
    if (now - this.sweptAt < SECOND) return;
    this.sweptAt = now;
    for (const [socket, connection] of this.connections) if (connection.isOverdue(now)) socket.destroy();
  }

  private listenToServer(): void {
    const { server } = this;
    server.on('connection', (socket: Socket) => this.opened(socket));
    server.on('request', (request, response) => this.incoming(request, response, 'nothing'));
    server.on('checkContinue', (request, response) => {
      // Node asks for the word anywhere in the value; only the word alone is the expectation.
      const exact = request.headers.expect?.trim().toLowerCase() === '100-continue';
      this.incoming(request, response, exact ? 'continue' : 'unknown');
    });
    server.on('checkExpectation', (request, response) => this.incoming(request, response, 'unknown'));
    server.on('connect', (request: IncomingMessage, socket) => {
      const error = gatewayError('method_not_allowed', 'CONNECT is not possible here.', {
        allow: 'GET, HEAD, POST, OPTIONS',
      });
      // Node has let go of it: what comes is for nobody, but its end must be seen.
      socket.resume();
      this.connectionOf(socket as Socket).protocolError(error, () => this.note(request.method ?? 'CONNECT', error));
    });
    server.on('clientError', (error, socket) => this.clientError(error, socket as Socket));
  }

  private opened(socket: Socket): void {
    this.connections.set(socket, new ClientConnection(socket, this.world.platform.clock));
    this.place ??= this.world.ticker.add(this);
    socket.on('close', () => {
      this.connections.delete(socket);
      if (this.connections.size > 0 || this.place === null) return;
      this.world.ticker.delete(this.place);
      this.place = null;
    });
  }

  private connectionOf(socket: Socket): ClientConnection {
    return this.connections.get(socket) ?? new ClientConnection(socket, this.world.platform.clock);
  }

  private incoming(
    request: IncomingMessage,
    response: ServerResponse,
    expects: 'nothing' | 'continue' | 'unknown',
  ): void {
    const connection = this.connectionOf(request.socket);
    const serve = (): void => {
      try {
        this.front.serve({ connection, request, response, expects });
      } catch (error) {
        // One request's fault must not become everybody's.
        this.world.telemetry.log.error({ err: error }, 'a request failed in the gateway');
        if (response.headersSent || !request.socket.writable) request.socket.destroy();
        else connection.refuseRaw(gatewayError('internal_error', 'The gateway failed on this request.'));
      }
    };
    if (connection.take(serve, () => request.complete)) return;
    const error = gatewayError(
      'invalid_body',
      `More than ${MAX_PIPELINED} requests were sent ahead of their answers. Wait for answers, or open more connections.`,
    );
    connection.tooManyWait(error, () => this.note(request.method ?? 'unknown', error));
  }

  private clientError(error: Error & { code?: string }, socket: Socket): void {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    // Whatever follows a request that said `Connection: close` is not for us.
    if (error.code === 'HPE_CLOSED_CONNECTION') return;
    const told = asGatewayError(error);
    this.connectionOf(socket).protocolError(told, () => this.note('unknown', told));
  }

  /** A request that never became one has an access line too. */
  private note(method: string, error: GatewayError): void {
    const { platform, telemetry, nextId } = this.world;
    const nothing = { route: 'unknown', path: '', rawHeaders: [] };
    const ledger = new RequestLedger({ platform, telemetry, id: nextId(), method, ...nothing });
    ledger.status = statusOf(error, 'openai');
    ledger.end(rowOf(error).outcome, error.code, 0, 0, null);
  }
}

function asGatewayError(error: Error & { code?: string }): GatewayError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return gatewayError('header_too_large', `The head of the request is larger than ${MAX_HEADER_BYTES} bytes.`);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return gatewayError('request_too_large', 'The chunk extensions of the request are too large.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return gatewayError('request_timeout', 'The request did not arrive in time.');
    default:
      return gatewayError('invalid_body', 'The request is not valid HTTP/1.1.');
  }
}
