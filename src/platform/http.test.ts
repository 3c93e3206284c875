import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createHttpClient } from './http.ts';

const open: { server?: Server; client?: ReturnType<typeof createHttpClient> } = {};

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  open.server = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function client(): ReturnType<typeof createHttpClient> {
  open.client ??= createHttpClient();
  return open.client;
}

afterEach(async () => {
  await open.client?.close();
  delete open.client;
  open.server?.closeAllConnections();
  await new Promise<void>((resolve) => (open.server === undefined ? resolve() : open.server.close(() => resolve())));
  delete open.server;
});

describe('http client', () => {
  it('sends the headers and returns status and body', async () => {
    const url = await serve((request, reply) => {
      reply.writeHead(503);
      reply.end(`${request.method} ${request.url} ${request.headers.authorization}`);
    });
    const answer = await client().get(`${url}/health?x=1`, { timeout: 20_000, headers: { authorization: 'Bearer k' } });
    expect(answer).toMatchObject({ status: 503, body: 'GET /health?x=1 Bearer k' });
  });

  it('does not follow redirects', async () => {
    const url = await serve((_request, reply) => {
      reply.writeHead(307, { location: '/elsewhere' });
      reply.end();
    });
    expect(await client().get(url, { timeout: 20_000 })).toMatchObject({
      status: 307,
      body: '',
      headers: { location: '/elsewhere' },
    });
  });

  it('cuts a body that is too long and goes on working', async () => {
    const url = await serve((request, reply) => {
      reply.end('x'.repeat(request.url === '/short' ? 3 : 1_000_000));
    });
    const answer = await client().get(`${url}/long`, { timeout: 20_000, maxBytes: 1_000 });
    expect(answer.body).toHaveLength(1_000);
    expect(await client().get(`${url}/short`, { timeout: 20_000 })).toMatchObject({ status: 200, body: 'xxx' });
  });

  it('asks for the headers alone, and gives bytes as they came', async () => {
    const bytes = Uint8Array.from([0, 255, 128, 10]);
    const url = await serve((request, reply) => {
      reply.writeHead(200, { 'content-length': 4, 'X-Method': request.method });
      reply.end(request.method === 'HEAD' ? undefined : bytes);
    });
    const head = await client().get(url, { timeout: 20_000, method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, body: '', headers: { 'content-length': '4', 'x-method': 'HEAD' } });
    const whole = await client().get(url, { timeout: 20_000, binary: true, outside: true });
    expect([...(whole.bytes ?? [])]).toEqual([...bytes]);
    expect(whole.body).toBe('');
  });

  it('says ETIMEDOUT when no answer comes, and when a body never ends', async () => {
    const url = await serve((request, reply) => {
      if (request.url === '/half') reply.write('half');
    });
    await expect(client().get(`${url}/none`, { timeout: 30 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(client().get(`${url}/half`, { timeout: 30 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });

  it('says ECONNREFUSED, ECONNRESET and EPROTO for what they are', async () => {
    const url = await serve((request, reply) => {
      if (request.url === '/reset') request.socket.destroy();
      else {
        reply.socket?.end('this is not HTTP\r\n\r\n');
      }
    });
    await expect(client().get(`${url}/reset`, { timeout: 20_000 })).rejects.toMatchObject({ code: 'ECONNRESET' });
    await expect(client().get(`${url}/garbage`, { timeout: 20_000 })).rejects.toMatchObject({ code: 'EPROTO' });
    open.server?.closeAllConnections();
    await new Promise((resolve) => open.server?.close(resolve));
    await expect(client().get(`${url}/gone`, { timeout: 20_000 })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('rejects with the reason of the signal', async () => {
    const url = await serve(() => {});
    const controller = new AbortController();
    const asked = client().get(url, { timeout: 20_000, signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });
});
