/** What the docker probe asks of a daemon that has GPUs, which no test machine has: a server that writes it down. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../../test/contract/process-harness.ts';
import type { DockerSettings } from '../../config/config.ts';
import type { Clock } from '../../platform/platform.ts';
import { createPlatform } from '../../platform/system.ts';
import { DockerProbe } from './docker-probe.ts';

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

const TABLE =
  'uuid, memory.total [MiB], memory.used [MiB], driver_version, mig.mode.current, name\nGPU-a, 100 MiB, 1 MiB, 580.95.05, Disabled, X\n';
const APPS = 'gpu_uuid, pid, used_gpu_memory [MiB]\nGPU-a, 4711, 1 MiB\n';
const NO_SUCH = { status: 404, body: { message: 'no such thing' } };

/** As much of the Engine API as the probe uses; `answers` replaces what it would say. */
class RecordingDaemon {
  readonly socket: string;
  readonly calls: string[] = [];
  readonly bodies: Record<string, unknown>[] = [];
  readonly answers = new Map<string, Answer | Answer[]>();
  /** Calls that are not answered before `speak`. */
  readonly silent = new Set<string>();
  readonly #held: (() => void)[] = [];
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), 'vgw-recording-'));
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.socket = join(this.#folder, 'docker.sock');
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('upgrade', (request, socket: Socket) => this.#attach(request, socket));
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.listen(this.socket, resolve);
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
    rmSync(this.#folder, { recursive: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const call = `${request.method ?? ''} ${(request.url ?? '').split('?')[0]}`;
    this.calls.push(call);
    const text = Buffer.concat(chunks).toString();
    if (call === 'POST /containers/create') this.bodies.push(JSON.parse(text) as Record<string, unknown>);
    if (this.silent.has(call)) await new Promise<void>((resolve) => this.#held.push(resolve));
    const scripted = this.answers.get(call);
    const { status, body } = (Array.isArray(scripted) ? scripted.shift() : scripted) ?? usual(call);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body === undefined ? '' : JSON.stringify(body));
  }

  get connections(): number {
    return this.#sockets.size;
  }

  speak(): void {
    this.silent.clear();
    for (const go of this.#held.splice(0)) go();
  }

  /** The hijacked connection: every question is answered at once. */
  #attach(request: IncomingMessage, socket: Socket): void {
    this.calls.push(`${request.method ?? ''} ${(request.url ?? '').split('?')[0]}`);
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    socket.on('end', () => socket.end());
    socket.on('data', (chunk: Buffer) => {
      for (const [, number] of chunk.toString().matchAll(/^read (\d+) /gm)) {
        const payload = Buffer.from(`${TABLE}\n@gpus ${number} 0\n${APPS}\n@processes ${number} 0\n`);
        const head = Buffer.alloc(8);
        head.writeUInt8(1, 0);
        head.writeUInt32BE(payload.length, 4);
        socket.write(Buffer.concat([head, payload]));
      }
    });
  }
}

function usual(call: string): Answer {
  if (call === 'GET /containers/json') return { status: 200, body: [] };
  if (call === 'POST /containers/create') return { status: 201, body: { Id: 'c1' } };
  if (call === 'GET /info') return { status: 200, body: { Runtimes: { runc: {} } } };
  if (call.startsWith('GET /images/')) return { status: 200, body: { Id: 'sha256:1' } };
  return { status: 204 };
}

let daemon: RecordingDaemon;
const open: DockerProbe[] = [];

function probe(gpus: DockerSettings['gpus'], speed = 1): DockerProbe {
  const docker = { socket: daemon.socket, gpus, probeImage: 'nvidia/cuda:12.1.0-base-ubuntu22.04' } as DockerSettings;
  const real = createPlatform();
  const clock: Clock = {
    ...real.clock,
    monotonic: () => real.clock.monotonic() * speed,
    after: (delay, run) => real.clock.after(delay / speed, run),
    sleep: (delay, signal) => real.clock.sleep(delay / speed, signal),
  };
  const made = new DockerProbe({ platform: { ...real, clock }, docker, gatewayId: 'gateway-1', names: new Map() });
  open.push(made);
  return made;
}

const requestsOf = (body: Record<string, unknown> | undefined): unknown =>
  (body?.['HostConfig'] as Record<string, unknown> | undefined)?.['DeviceRequests'];

const NVIDIA = [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu', 'utility']] }];
const CDI = [{ Driver: 'cdi', DeviceIDs: ['nvidia.com/gpu=all'] }];
const NO_DRIVER = {
  status: 500,
  body: { message: 'could not select device driver "nvidia" with capabilities: [[gpu utility]]' },
};
const START = 'POST /containers/c1/start';

describe('the docker probe', () => {
  beforeEach(async () => {
    daemon = new RecordingDaemon();
    await daemon.open();
  });

  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.close()));
    await daemon.close();
  });

  it('makes a helper that sees all GPUs and all processes, and is nothing else', async () => {
    const { devices, processes } = await probe('nvidia').read();
    expect(devices.map(({ uuid }) => uuid)).toEqual(['GPU-a']);
    // The machine's own numbers, as its pid namespace is the machine's.
    expect(processes?.map(({ pid }) => pid)).toEqual([4711]);
    const [body] = daemon.bodies;
    expect(body).toMatchObject({
      Image: 'nvidia/cuda:12.1.0-base-ubuntu22.04',
      Labels: { 'vllm-gateway.probe': 'gateway-1' },
      OpenStdin: true,
      StdinOnce: true,
      HostConfig: {
        PidMode: 'host',
        NetworkMode: 'none',
        AutoRemove: true,
        CapDrop: ['ALL'],
        LogConfig: { Type: 'none' },
      },
    });
    expect(requestsOf(body)).toEqual(NVIDIA);
    expect(daemon.calls.indexOf('POST /containers/c1/attach')).toBeLessThan(daemon.calls.indexOf(START));
  });

  it('asks for GPUs as drivers.docker.gpus says', async () => {
    await probe('cdi').read();
    await probe('none').read();
    expect(daemon.bodies.map(requestsOf)).toEqual([CDI, []]);
  });

  it('goes over to CDI where the daemon has no NVIDIA runtime, and takes the first try away', async () => {
    daemon.answers.set(START, [NO_DRIVER]);
    await probe('auto').read();
    expect(daemon.bodies.map(requestsOf)).toEqual([NVIDIA, CDI]);
    expect(daemon.calls.filter((call) => call === 'DELETE /containers/c1')).toHaveLength(1);
  });

  it('says that Docker has no GPUs, which is no failure of Docker', async () => {
    daemon.answers.set(START, NO_DRIVER);
    await expect(probe('auto').read()).rejects.toMatchObject({
      absent: true,
      message: expect.stringContaining('Docker cannot hand GPUs to containers'),
    });
  });

  it('pulls its image when it is not there, once', async () => {
    daemon.answers.set('GET /images/nvidia/cuda:12.1.0-base-ubuntu22.04/json', NO_SUCH);
    daemon.answers.set('POST /images/create', { status: 200, body: { status: 'Downloaded' } });
    await probe('nvidia').read();
    expect(daemon.calls.filter((call) => call === 'POST /images/create')).toHaveLength(1);
  });

  it.each([
    ['toomanyrequests: slow down', { status: 200, body: { error: 'toomanyrequests: slow down' } }],
    ['pull access denied', { status: 404, body: { message: 'pull access denied' } }],
  ])('tells why it cannot be pulled: %s', async (reason, answer) => {
    daemon.answers.set('GET /images/nvidia/cuda:12.1.0-base-ubuntu22.04/json', NO_SUCH);
    daemon.answers.set('POST /images/create', answer);
    await expect(probe('nvidia').read()).rejects.toThrow(reason);
    expect(daemon.bodies).toEqual([]);
  });

  it('is told by the daemon whether trying is worth it', async () => {
    expect(await probe('auto').whyNot()).toBeNull();
    daemon.answers.set('GET /images/nvidia/cuda:12.1.0-base-ubuntu22.04/json', NO_SUCH);
    expect(await probe('auto').whyNot()).toContain('no NVIDIA runtime');
    daemon.answers.set('GET /info', { status: 200, body: { Runtimes: { runc: {}, nvidia: {} } } });
    expect(await probe('auto').whyNot()).toBeNull();
    daemon.answers.set('GET /info', {
      status: 200,
      body: { DiscoveredDevices: [{ Source: 'cdi', ID: 'nvidia.com/gpu=all' }] },
    });
    expect(await probe('auto').whyNot()).toBeNull();
  });

  it.each(['GET /info', 'GET /containers/json', 'POST /containers/create', START])(
    'keeps no connection to a daemon that does not answer %s',
    async (call) => {
      daemon.silent.add(call);
      const hung = probe('nvidia', 20);
      if (call === 'GET /info') await expect(hung.whyNot()).rejects.toThrow('did not answer within 10 s');
      else await expect(hung.read()).rejects.toThrow();
      await until(() => daemon.calls.includes(call) && daemon.connections === 0);
    },
  );

  it('takes away a helper that was being made when it was closed', async () => {
    daemon.silent.add('POST /containers/create');
    const making = probe('nvidia');
    const read = making.read().then(
      () => 'read',
      () => 'refused',
    );
    await until(() => daemon.calls.includes('POST /containers/create'));
    const closed = making.close();
    await until(() => daemon.calls.filter((call) => call === 'GET /containers/json').length > 0);
    daemon.speak();
    await closed;
    expect(await read).toBe('refused');
    expect(daemon.calls).toContain('DELETE /containers/c1');
  });

  it('asks for nothing at the end when it never began', async () => {
    await probe('auto').close();
    expect(daemon.calls).toEqual([]);
  });
});
