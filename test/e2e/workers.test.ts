/** A data plane in three processes: what holds for one holds for all of them together, and one of them may die. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { Clients, endOf, tally } from '../support/clients.ts';
import { eventually } from '../support/eventually.ts';
import { spawnGateway, startGateway } from '../support/gateway-process.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { ENDLESS, openStream } from '../support/open-stream.ts';
import { rawRequest } from '../support/raw-http.ts';
import { reload } from '../support/reload.ts';
import {
  engineStats,
  holdEngine,
  letEngineGo,
  metric,
  simulatedYaml,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilRunning,
  untilWaiting,
  type SimulatedModel,
} from '../support/simulated-fleet.ts';

const WORKERS = 3;
const SERVER = `  workers: ${WORKERS}`;

const startWorkers = (models: readonly SimulatedModel[], more = ''): Promise<TestGateway> =>
  startFleet(models, more, { server: SERVER });

async function workersOf(gateway: TestGateway) {
  const { workers } = (await statusOf(gateway)).gateway;
  if (workers === null) throw new Error('the gateway has no workers');
  return workers;
}

const runs = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Access lines by the id of their request. */
function accessLines(gateway: TestGateway): readonly string[] {
  return gateway.lines.flatMap((line) => {
    const entry = JSON.parse(line) as { readonly msg: string; readonly request: string };
    return entry.msg === 'request' ? [entry.request] : [];
  });
}

describe('three workers', () => {
  it('hold every limit together: so many run, so many wait, the rest is turned away, and each is told of once', async () => {
    await using gateway = await startWorkers([{ name: 'one', keys: ['max_concurrent: 5', 'max_queue_size: 20'] }]);
    await using clients = new Clients(gateway.url);
    const warm = await clients.chats(30, 'one', (index) => ({ stream: index % 2 === 0 }));
    expect(tally(warm.map(endOf))['200']).toBeGreaterThan(20);
    await holdEngine(gateway, 'one');
    const before = accessLines(gateway).length;
    const asked = clients.chats(100, 'one', (index) => ({
      stream: index % 2 === 0,
      headers: { 'x-request-id': `r${index}` },
    }));
    await untilRunning(gateway, 'one', 5);
    await untilWaiting(gateway, 'one', 20);
    // All have come: a late one would find room.
    await until(() => expect(accessLines(gateway).slice(before)).toHaveLength(75));
    await letEngineGo(gateway, 'one');
    const answers = await asked;
    expect(tally(answers.map(endOf))).toEqual({ 200: 25, '429 queue_full': 75 });
    for (const { headers } of answers)
      expect(headers).toMatchObject({ 'x-max-concurrent': '5', 'x-max-queue-size': '20' });
    expect(await engineStats(gateway, 'one')).toMatchObject({ max_running: 5, running: 0 });
    await untilAtRest(gateway);
    await until(async () => {
      const lines = accessLines(gateway).slice(before);
      expect(lines.filter((id) => id.startsWith('r')).toSorted()).toEqual(
        Array.from({ length: 100 }, (_, index) => `r${index}`).toSorted(),
      );
      expect(await metric(gateway, 'requests_total', { route: 'chat_completions' })).toBe(130);
    });
    expect(await metric(gateway, 'workers')).toBe(WORKERS);
  });

  it('have as many connections each', async () => {
    await using gateway = await startWorkers([{ name: 'one' }]);
    const sockets = Array.from({ length: 32 }, () => connect(gateway.port, '127.0.0.1'));
    try {
      await until(async () => {
        const counts = (await workersOf(gateway)).running.map(({ connections }) => connections);
        // And the connections that ask for this.
        expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(32);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      });
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  it('leave nothing behind of clients that hang up, in whatever phase', async () => {
    await using gateway = await startWorkers([{ name: 'one', keys: ['max_concurrent: 4', 'max_queue_size: 100'] }]);
    {
      await using clients = new Clients(gateway.url);
      expect(endOf(await clients.chat('one'))).toBe('200');
      const leave = new AbortController();
      const streams = await Promise.all(Array.from({ length: 4 }, () => openStream(clients, 'one')));
      const waiting = Array.from({ length: 20 }, () =>
        clients.chat('one', { signal: leave.signal }).then(endOf, () => 'left'),
      );
      await untilWaiting(gateway, 'one', 20);
      leave.abort();
      expect(tally(await Promise.all(waiting))).toEqual({ left: 20 });
      await untilWaiting(gateway, 'one', 0);
      expect(streams).toHaveLength(4);
    }
    await untilAtRest(gateway);
    await until(async () => expect(await engineStats(gateway, 'one')).toMatchObject({ running: 0, aborted: 4 }));
    const { running } = await workersOf(gateway);
    await until(async () => {
      const now = (await workersOf(gateway)).running.reduce((sum, { connections }) => sum + connections, 0);
      // Those of this test's own questions, which are kept alive.
      expect(now).toBeLessThan(running.length * 3);
    });
  });

  it('serve with the new keys and models, each of them, once a reload is answered', async () => {
    const keys = (key: string): string => `auth: { keys: [{ id: app, key: ${key}, roles: [admin, inference] }] }`;
    await using gateway = await startFleet([{ name: 'one' }], keys('sk-the-first-key'), {
      server: SERVER,
      adminKey: 'sk-the-first-key',
    });
    // As many connections as reach every worker.
    const statusesWith = async (key: string, model: string): Promise<Record<string, number>> => {
      await using clients = new Clients(gateway.url);
      const headers = { authorization: `Bearer ${key}` };
      return tally((await clients.chats(3 * WORKERS, model, () => ({ headers }))).map(({ status }) => status));
    };
    expect(await statusesWith('sk-the-first-key', 'one')).toEqual({ 200: 9 });
    await gateway.rewrite(simulatedYaml([{ name: 'one' }, { name: 'two' }], keys('sk-the-second-key')), SERVER);
    expect(await reload(gateway)).toMatchObject({ result: 'applied', diff: { add: ['two'] } });
    expect(await statusesWith('sk-the-first-key', 'one')).toEqual({ 401: 9 });
    expect(await statusesWith('sk-the-second-key', 'two')).toEqual({ 200: 9 });
    expect(await statusesWith('sk-the-second-key', 'three')).toEqual({ 404: 9 });
  });

  it('frame as one process does: what is no request is refused, and its connection ends', async () => {
    await using gateway = await startWorkers([{ name: 'one' }]);
    const { port } = gateway;
    const head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
    for (const [bytes, status] of [
      [`${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
      [`${head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`, 400],
      [`${head}transfer-encoding: chunked\r\n\r\nzz\r\n`, 400],
      ['GET / HTTP/9.9\r\n\r\n', 400],
      [`${head}x-long: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
      [`${head}content-length: 9\r\n\r\nnot json!`, 400],
      ['GET /gateway/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n', 404],
      ['POST /v1/models HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}', 405],
      ['GET /gateway/status HTTP/1.1\r\nhost: evil.example\r\n\r\n', 403],
    ] as const) {
      expect((await rawRequest(port, bytes)).status, bytes.slice(0, 120)).toBe(status);
    }
    await untilAtRest(gateway);
  });

  it('answer for the control plane before a body has come, and count one that breaks off once', async () => {
    await using gateway = await startFleet(
      [{ name: 'one' }],
      'auth: { keys: [{ id: app, key: sk-the-key, roles: [admin] }] }',
      {
        server: SERVER,
        adminKey: 'sk-the-key',
      },
    );
    const head = 'POST /gateway/reload HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
    const keyed = `${head}authorization: Bearer sk-the-key\r\n`;
    const piece = Buffer.alloc(64 * 1024, 0x20);
    const socket = connect(gateway.port, '127.0.0.1');
    let [text, failed] = ['', ''];
    socket.on('data', (data: Buffer) => void (text += data.toString('latin1')));
    socket.on('error', (error) => void (failed ||= error.message));
    // More than is read of what nobody wants, and slower than anybody waits for.
    socket.write(`${head}content-length: ${1024 * piece.length}\r\n\r\n`);
    await until(() => {
      if (socket.writable) socket.write(piece);
      expect(socket.destroyed || socket.readableEnded).toBe(true);
    });
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
    expect(failed).toBe('');
    const refused = (): readonly string[] => gateway.lines.filter((line) => line.includes('"code":"invalid_body"'));
    for (const [ends, bytes] of [
      ['hangs up', `${keyed}content-length: 9\r\n\r\n{`],
      ['is no chunk', `${keyed}transfer-encoding: chunked\r\n\r\nzz\r\n`],
    ] as const) {
      const before = refused().length;
      const broken = connect(gateway.port, '127.0.0.1');
      broken.write(bytes);
      if (ends === 'hangs up') broken.end();
      broken.resume();
      await once(broken, 'close');
      await until(() => expect(refused().length).toBeGreaterThan(before));
      // Whoever else would count it has heard of it before the next request.
      expect((await gateway.post('/gateway/reload', { dry_run: true })).status).toBe(200);
      expect(refused().length, ends).toBe(before + 1);
    }
  });

  it('answer for the control plane on every connection, and follow events without an end', async () => {
    await using gateway = await startWorkers([{ name: 'one' }]);
    // One connection for all, which the worker keeps alive whoever answers.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (path: string): Promise<number> =>
      new Promise((resolve, reject) => {
        get(gateway.url + path, { agent }, (answer) => {
          answer.resume().once('end', () => resolve(answer.statusCode ?? 0));
        }).once('error', reject);
      });
    for (const path of ['/healthz', '/readyz', '/metrics', '/v1/models', '/v1/models/one', '/gateway/status', '/'])
      expect(await ask(path), path).toBe(200);
    agent.destroy();
    const leave = new AbortController();
    const answer = await fetch(`${gateway.url}/gateway/events`, { signal: leave.signal });
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    const readUntil = async (wanted: string): Promise<void> => {
      while (!text.includes(wanted)) text += (await reader?.read())?.value ?? '';
    };
    await readUntil('event: snapshot');
    await gateway.post('/gateway/models/one/load', {});
    await readUntil('replica.ready');
    for (const path of ['/v1/models/one', '/models/one'])
      expect(await (await fetch(gateway.url + path)).json(), path).toMatchObject({ state: 'ready' });
    leave.abort();
  });
});

describe('a worker that is killed under load', () => {
  it('loses its own requests alone: its leases and tickets end at once, its engine stops, another takes its place', async () => {
    await using gateway = await startWorkers([{ name: 'one', keys: ['max_concurrent: 6', 'max_queue_size: 200'] }]);
    await using clients = new Clients(gateway.url);
    expect(endOf(await clients.chat('one'))).toBe('200');
    const [victim] = (await workersOf(gateway)).running;
    if (victim === undefined) throw new Error('no worker runs');
    // Six that stream without an end, on all workers, and thirty that wait behind them.
    const streams = await Promise.all(Array.from({ length: 6 }, () => openStream(clients, 'one', ENDLESS)));
    const waiting = Array.from({ length: 30 }, () => clients.chat('one').then(endOf, () => 'cut'));
    await untilWaiting(gateway, 'one', 30);
    process.kill(victim.pid, 'SIGKILL');
    // Leases of the dead are free at once: of those who wait behind them each gets one, those of the dead never.
    const ends = tally(await Promise.all(waiting));
    expect(Object.keys(ends).toSorted()).toEqual(['200', 'cut']);
    expect(ends['cut']).toBeGreaterThanOrEqual(5);
    expect(ends['200']).toBeGreaterThanOrEqual(15);
    await until(async () => expect((await statusOf(gateway)).models['one']).toMatchObject({ queued: 0 }));
    await until(async () => expect((await workersOf(gateway)).running).toHaveLength(WORKERS));
    const workers = await workersOf(gateway);
    expect(workers.exits).toBe(1);
    expect(workers.running.map(({ pid }) => pid)).not.toContain(victim.pid);
    const { running, aborted } = await engineStats(gateway, 'one');
    expect(running).toBe((await statusOf(gateway)).models['one']?.in_flight);
    expect(aborted).toBe(6 - running);
    expect(aborted).toBeGreaterThanOrEqual(1);
    expect(await metric(gateway, 'worker_exits_total')).toBe(1);
    // One line for each, with the id that its client was told, and none twice.
    const lost = gateway.lines.filter((line) => line.includes('"outcome":"internal"'));
    expect(lost).toHaveLength((ends['cut'] ?? 0) + aborted);
    const ids = accessLines(gateway);
    expect(new Set(ids).size).toBe(ids.length);
    const told = gateway.lines.filter((line) => line.includes('a worker of the data plane ended'));
    expect(told).toHaveLength(1);
    expect(JSON.parse(told[0] ?? '')).toMatchObject({
      level: 'error',
      pid: victim.pid,
      signal: 'SIGKILL',
      leases: aborted,
    });
    expect(endOf(await clients.chat('one'))).toBe('200');
    await clients[Symbol.asyncDispose]();
    await Promise.all(streams.map(({ end }) => end));
    await untilAtRest(gateway);
  });
});

describe('readiness, asked at an address of its own', () => {
  it('is there as long as one worker takes connections', async () => {
    await using gateway = await startFleet([{ name: 'one' }], '', {
      server: `${SERVER}\n  admin_listen: 127.0.0.1:0`,
    });
    const ready = async (): Promise<unknown> => {
      const answer = await fetch(`${gateway.adminUrl}/readyz`);
      return [answer.status, await answer.json()];
    };
    const isReady = [200, { status: 'ready', reasons: [] }];
    const { running } = await workersOf(gateway);
    expect(running).toHaveLength(WORKERS);
    const [first, ...others] = running;
    for (const { pid } of others) process.kill(pid, 'SIGKILL');
    await until(async () => expect((await workersOf(gateway)).exits).toBe(others.length));
    expect(await ready()).toEqual(isReady);
    // One that is still starting would take connections when all others are gone.
    await eventually('all are there again', async () => (await workersOf(gateway)).running.length === WORKERS);
    const again = (await workersOf(gateway)).running.map(({ pid }) => pid);
    expect(again).toContain(first?.pid);
    for (const pid of again) process.kill(pid, 'SIGKILL');
    await until(async () =>
      expect(await ready()).toEqual([
        503,
        { status: 'not_ready', reasons: ['no worker of the data plane takes connections'] },
      ]),
    );
    await until(async () => expect(await ready()).toEqual(isReady));
  });
});

/** Workers that it has started, which need not serve yet. */
function workersUnder(pid: number): readonly number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  return children.filter((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('worker.js'));
}

describe('the process of the controller', () => {
  it('is stopped in a terminal, which tells every process of the group, while its workers load', async () => {
    const yaml = simulatedYaml([{ name: 'one' }]);
    await using gateway = await spawnGateway({ yaml, server: SERVER, through: ['setsid'] });
    await eventually('it has started its workers', () => workersUnder(gateway.pid).length === WORKERS);
    expect(() => gateway.url).toThrow('does not listen yet');
    process.kill(-gateway.pid, 'SIGINT');
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
    expect(gateway.log.filter(({ msg }) => /a worker of the data plane ended/.test(msg))).toEqual([]);
    expect(gateway.log.map(({ msg }) => msg)).toContain('stopped');
  });

  it('takes its workers with it when it is killed while they load', async () => {
    await using gateway = await spawnGateway({ yaml: simulatedYaml([{ name: 'one' }]), server: SERVER });
    await eventually('it has started its workers', () => workersUnder(gateway.pid).length === WORKERS);
    const pids = workersUnder(gateway.pid);
    await gateway.kill();
    await eventually('its workers are gone', () => !pids.some(runs));
  });

  it('takes its workers with it, when it is told to end and when it is killed', async () => {
    const yaml = simulatedYaml([{ name: 'one' }]);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await using gateway = await startGateway({ yaml, server: SERVER });
      const { gateway: facts } = (await gateway.status()) as unknown as {
        readonly gateway: { readonly workers: { readonly running: readonly { readonly pid: number }[] } };
      };
      const pids = facts.workers.running.map(({ pid }) => pid);
      expect(pids).toHaveLength(WORKERS);
      expect(pids.every(runs)).toBe(true);
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'one', messages: [{ role: 'user', content: 'Hello' }] }),
      });
      expect(answer.status).toBe(200);
      await answer.text();
      gateway.signal(signal);
      expect((await gateway.exit).code).toBe(signal === 'SIGTERM' ? 0 : null);
      await eventually('its workers are gone', () => !pids.some(runs));
      if (signal === 'SIGTERM') await noEngineLeft(gateway.gatewayId ?? '');
    }
  });
});
