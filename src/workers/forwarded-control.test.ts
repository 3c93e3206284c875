/** Requests that a worker sends on arrive as they would have in one process, from whom they came. */
import {
  createServer,
  request as sendRequest,
  type IncomingMessage,
  type RequestOptions,
  type Server,
} from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createPlatform } from '../platform/system.ts';
import { HandedConnections } from '../proxy/handed-connections.ts';
import { checkHead } from '../proxy/head-rules.ts';
import { rawRequest } from '../../test/support/raw-http.ts';
import { forwardControl, openControlDoor, type ControlDoor } from './forwarded-control.ts';

interface Seen {
  readonly headers: IncomingMessage['headers'];
  readonly peer: string | undefined;
  readonly body: string;
}

const arrived: Seen[] = [];
const LIMIT = 5;
const ANSWER_OPTIONS = { requireHostHeader: false };
const servers: Server[] = [];
/** Connections that came through the door, and those of them that are open. */
let [came, open] = [0, 0];
let door: ControlDoor;
let port = 0;

beforeAll(async () => {
  const controller = createServer(ANSWER_OPTIONS, (request, response) => {
    const { headers, socket } = request;
    void text(request).then((body) => {
      arrived.push({ headers, peer: socket.remoteAddress, body });
      response.writeHead(checkHead(request) === null ? 200 : 400, { 'x-answer': 'yes' }).end('answer');
    });
  });
  controller.on('checkExpectation', (_, response) => response.writeHead(417).end());
  controller.on('connection', () => {
    came += 1;
    open += 1;
  });
  const handed = new HandedConnections(() => void (open -= 1));
  handed.attach(controller);
  door = await openControlDoor(createPlatform(), handed, LIMIT);
  const { handle } = forwardControl(door.address, () => true);
  const worker = createServer(ANSWER_OPTIONS, handle);
  worker.on('checkExpectation', handle);
  await new Promise<void>((resolve) => worker.listen(0, '0.0.0.0', resolve));
  ({ port } = worker.address() as AddressInfo);
  servers.push(controller, worker);
});

afterAll(async () => {
  for (const server of servers) server.closeAllConnections();
  servers[1]?.close();
  await door[Symbol.asyncDispose]();
});

afterEach(() => vi.waitFor(() => expect(open).toBe(0)));

function ask(options: RequestOptions, body = ''): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = sendRequest({ host: '127.0.0.1', port, agent: false, ...options }, (answer) => {
      answer.resume().once('end', () => resolve(answer));
    });
    sent.once('error', reject).end(body);
  });
}

describe('a request for the control plane that a worker has', () => {
  it('comes from the address of its client, whatever else it says', async () => {
    const headers = { 'x-forwarded-for': '127.0.0.1' };
    expect((await ask({ localAddress: '127.0.0.9', headers })).headers).toMatchObject({ 'x-answer': 'yes' });
    expect(arrived.pop()).toMatchObject({ peer: '127.0.0.9', headers });
  });

  it('may come in HTTP/1.0 without a Host, as health checks do', async () => {
    expect(await rawRequest(port, 'GET /healthz HTTP/1.0\r\n\r\n')).toMatchObject({ status: 200 });
    expect(arrived.pop()?.headers.host).toBe('localhost');
  });

  it('may announce trailers', async () => {
    const head = 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntrailer: x-sum\r\n\r\n';
    expect(await rawRequest(port, head)).toMatchObject({ status: 200 });
    const chunked = head.replace('\r\n\r\n', '\r\ntransfer-encoding: chunked\r\n\r\n');
    expect(await rawRequest(port, `${chunked}2\r\n{}\r\n0\r\nx-sum: 2\r\n\r\n`)).toMatchObject({ status: 200 });
    expect(arrived.splice(0)).toMatchObject([{ body: '' }, { body: '{}' }]);
  });

  it('may expect what was met already, and is refused what cannot be met', async () => {
    const options = { method: 'POST', path: '/gateway/reload' };
    expect((await ask({ ...options, headers: { expect: '100-continue' } }, '{}')).statusCode).toBe(200);
    expect(arrived.pop()).toMatchObject({ body: '{}' });
    expect(arrived.pop()).toBeUndefined();
    expect((await ask({ headers: { expect: '200-ok' } })).statusCode).toBe(417);
  });
});

it.each([
  ['/models', true],
  ['/v1/models', true],
  ['/models/one', true],
  ['/v1/models/org%2Fone', true],
  ['/modelsandmore', false],
  ['/v1/chat/completions', false],
])('%s is sent on: %s', (path, sentOn) => {
  expect(forwardControl(door.address, () => false).owns(path)).toBe(sentOn);
});

describe('the door of the control plane', () => {
  it.each([
    ['without the token', `${'0'.repeat(64)} 127.0.0.1\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n`],
    ['without a line', 'x'.repeat(300)],
  ])('is shut to whoever comes %s', async (_, bytes) => {
    const socket = connect(door.address.path);
    socket.write(bytes);
    expect(await text(socket)).toBe('');
    expect(arrived).toEqual([]);
  });

  it('lets in so many at once: more clients than the process has descriptors never have them all', async () => {
    came = 0;
    const sockets = Array.from({ length: LIMIT }, () => connect(port, '127.0.0.1'));
    const head = 'POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n';
    for (const socket of sockets) socket.write(head);
    await vi.waitFor(() => expect(came).toBe(LIMIT));
    expect(await rawRequest(port, `${head}{}`)).toMatchObject({ status: 0 });
    expect(came).toBe(LIMIT);
    for (const socket of sockets) socket.write('{}');
    const answers = await Promise.all(sockets.map((socket) => text(socket)));
    expect(answers.map((answer) => answer.slice(0, 15))).toEqual(Array.from(answers, () => 'HTTP/1.1 200 OK'));
    expect(arrived.splice(0)).toHaveLength(LIMIT);
  });
});
