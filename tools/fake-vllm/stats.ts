import type { Socket } from 'node:net';

interface Connection {
  readonly id: number;
  requests: number;
  inference: number;
  open: boolean;
}

/** What the control route reports about connections: how well a client reuses them. */
export class Stats {
  private readonly bySocket = new WeakMap<Socket, Connection>();
  private readonly connections: Connection[] = [];
  private total = 0;
  private open = 0;
  private maxOpen = 0;
  private inferenceConnections = 0;
  requests = 0;
  inferenceRequests = 0;

  connected(socket: Socket): void {
    this.total += 1;
    this.open += 1;
    this.maxOpen = Math.max(this.maxOpen, this.open);
    const connection: Connection = { id: this.total, requests: 0, inference: 0, open: true };
    this.bySocket.set(socket, connection);
    if (this.connections.length < 10_000) this.connections.push(connection);
    socket.once('close', () => {
      this.open -= 1;
      connection.open = false;
    });
  }

  request(socket: Socket): void {
    this.requests += 1;
    const connection = this.bySocket.get(socket);
    if (connection !== undefined) connection.requests += 1;
  }

  inference(socket: Socket): void {
    this.inferenceRequests += 1;
    const connection = this.bySocket.get(socket);
    if (connection === undefined) return;
    if (connection.inference === 0) this.inferenceConnections += 1;
    connection.inference += 1;
  }

  report(): Record<string, unknown> {
    return {
      requests: this.requests,
      inference_requests: this.inferenceRequests,
      connections_total: this.total,
      connections_open: this.open,
      connections_max: this.maxOpen,
      inference_connections_total: this.inferenceConnections,
      connections: this.connections,
    };
  }
}
