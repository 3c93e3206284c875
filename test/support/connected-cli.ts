/** A command line that talks over a socket to a real control plane over a fake fleet. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { adminBench, type AdminBench } from './admin-bench.ts';
import { CliBench, type CliBenchOptions } from './cli-bench.ts';

const servers: Server[] = [];

/** After each test. */
export async function closeServers(): Promise<void> {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
}

export async function listen(handle: RequestListener): Promise<string> {
  const server = createServer(handle);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export async function connected(
  options: CliBenchOptions = {},
  yaml?: string,
  adminEnv: Readonly<Record<string, string>> = {},
): Promise<{ cli: CliBench; admin: AdminBench; url: string }> {
  const admin = await adminBench(yaml, adminEnv);
  const url = await listen((request, response) => admin.admin.main.handle(request, response));
  const cli = new CliBench({ ...options, env: { GATEWAY_URL: url, ...options.env } });
  return { cli, admin, url };
}
