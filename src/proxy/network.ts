/** Where the data plane's sockets come from: the system, or another world that a clock of its own moves. */
import { createServer, type Server, type ServerOptions } from 'node:http';
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { HandedConnections } from './handed-connections.ts';

export interface Network {
  /** As `connect` of node:net, `onread` included: a socket that is about to be connected. */
  connect(options: TcpNetConnectOpts): Socket;
  /** As `createServer` of node:http. */
  createServer(options: ServerOptions): Server;
  /** Where connections come from when no address is bound; one listener has them all. */
  readonly handed?: HandedConnections;
}

export const systemNetwork: Network = { connect, createServer };
