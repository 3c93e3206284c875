import { createServer, request as httpRequest } from 'node:http';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { ADMIN_BENCH_YAML, BodyReader, adminBench } from '../../test/support/admin-bench.ts';
import type { AdminBench } from '../../test/support/admin-bench.ts';
import type { ControlPaths } from './create-admin.ts';

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

async function listen(paths: ControlPaths): Promise<number> {
  const server = createServer((request, response) => paths.handle(request, response));
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Sends these bytes and reads until the other side closes. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(text);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

describe('paths of the control plane', () => {
  const CONTROL = ['/', '/healthz', '/readyz', '/gateway/status', '/static/page.js'];
  const MOVABLE = [
    '/metrics',
    '/gateway',
    '/gateway/events',
    '/gateway/models/a/b/load',
    '/gateway/config',
    '/gateway/nothing',
  ];
  const OTHERS = [
    '/v1/models',
    '/v1/chat/completions',
    '/healthz/x',
    '/gatewayx',
    '/metricsx',
    '//gateway/status',
    '/static',
  ];

  it('all belong to the one listener there is', async () => {
    const { main } = (await adminBench()).admin;
    for (const path of [...CONTROL, ...MOVABLE]) expect(main.owns(path), path).toBe(true);
    for (const path of OTHERS) expect(main.owns(path), path).toBe(false);
  });

  it('move to admin_listen, all but health and status', async () => {
    const yaml = ADMIN_BENCH_YAML.replace('server: {', 'server: { admin_listen: "127.0.0.1:9001",');
    const { main, separate } = (await adminBench(yaml)).admin;
    for (const path of CONTROL) expect(main.owns(path), path).toBe(true);
    for (const path of [...MOVABLE, ...OTHERS]) expect(main.owns(path), path).toBe(false);
    for (const path of [...CONTROL, ...MOVABLE]) expect(separate.owns(path), path).toBe(true);
  });
});

describe('over a socket', () => {
  async function served(): Promise<{ bench: AdminBench; port: number; url: string }> {
    const bench = await adminBench();
    const port = await listen(bench.admin.main);
    return { bench, port, url: `http://127.0.0.1:${port}` };
  }

  it('answers with a length, keeps the connection, and knows a local peer', async () => {
    const { url } = await served();
    const response = await fetch(`${url}/gateway/config`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-length')).not.toBeNull();
    await response.text();
  });

  it('refuses a name it does not expect (DNS rebinding)', async () => {
    const { port } = await served();
    const answer = await raw(port, 'GET /gateway/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 403 /);
    expect(answer).toContain('permission_denied');
  });

  it.each(['a/b', 'localhost/@x', 'exa mple', '[::1'])(
    'answers a malformed Host header (%s) in OpenAI shape',
    async (host) => {
      const { port } = await served();
      const answer = await raw(port, `GET /gateway/status HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 40[03] /);
      expect(answer).toContain('"error":{');
    },
  );

  it('serves HTTP/1.0 without a Host header', async () => {
    const { port } = await served();
    expect(await raw(port, 'GET /healthz HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('routes on the path that was sent, whatever Host says', async () => {
    const { port } = await served();
    const answer = await raw(port, 'GET /nowhere HTTP/1.1\r\nHost: localhost?/healthz\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 40[034] /);
  });

  it('sees an event subscriber leave', async () => {
    const { bench, url } = await served();
    const leaving = new AbortController();
    const response = await fetch(`${url}/gateway/events`, { signal: leaving.signal });
    const reader = new BodyReader(response);
    await reader.until('event: snapshot');
    bench.control.decide({ kind: 'replica.ready' });
    await reader.until('event: decision');
    expect(bench.control.listeners.size).toBe(1);
    leaving.abort();
    await expect.poll(() => bench.control.listeners.size).toBe(0);
  });

  it('sends log lines as they come, and ends the source when the reader leaves', async () => {
    const { bench, url } = await served();
    let ended = false;
    bench.control.lines = async function* (_, { signal }) {
      try {
        yield 'first';
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      } finally {
        ended = true;
      }
    };
    const leaving = new AbortController();
    const response = await fetch(`${url}/gateway/replicas/llama-1/logs?follow=true`, { signal: leaving.signal });
    await new BodyReader(response).until('first\n');
    leaving.abort();
    await expect.poll(() => ended).toBe(true);
  });

  it('answers at once while a command waits for its end [item 151]', async () => {
    const { bench, url } = await served();
    let finish = (): void => undefined;
    bench.control.result = () =>
      new Promise((resolve) => {
        finish = () => resolve({ ok: true, state: 'ready' });
      });
    const waiting = fetch(`${url}/gateway/models/llama/load?wait=true`, { method: 'POST' });
    await expect.poll(() => bench.control.asked.length).toBe(1);
    expect((await fetch(`${url}/gateway/status`)).status).toBe(200);
    finish();
    expect((await waiting).status).toBe(200);
  });

  it('tells a waiting command that its caller left', async () => {
    const { bench, port } = await served();
    let left = false;
    bench.control.result = ({ signal }) =>
      new Promise((resolve) =>
        signal.addEventListener('abort', () => {
          left = true;
          resolve({ ok: true, state: 'starting' });
        }),
      );
    const request = httpRequest({
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/gateway/models/llama/load?wait=true',
    });
    request.on('error', () => undefined);
    request.end();
    await expect.poll(() => bench.control.asked.length).toBe(1);
    request.destroy();
    await expect.poll(() => left).toBe(true);
  });

  it('leaves a body that nobody asked for unread, and still answers', async () => {
    const { url } = await served();
    const response = await fetch(`${url}/gateway/models/llama/load`, { method: 'POST', body: 'x'.repeat(300_000) });
    expect(response.status).toBe(202);
    await response.text();
  });

  it('leaves the globals of the process alone', async () => {
    const before = [globalThis.Request, globalThis.Response];
    await served();
    expect([globalThis.Request, globalThis.Response]).toEqual(before);
  });
});
