/** A whole gateway in this process: real platform, real engines as child processes, a free port, a folder of its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../src/config/config.ts';
import { loadConfig, type LoadResult } from '../../src/config/load.ts';
import { renderProblem } from '../../src/config/problems.ts';
import { createGateway, type Gateway } from '../../src/gateway.ts';
import type { Clock, Platform } from '../../src/platform/platform.ts';
import { createPlatform } from '../../src/platform/system.ts';
import type { Network } from '../../src/proxy/network.ts';
import { createTelemetry } from '../../src/telemetry/create-telemetry.ts';
import { builtProgram } from './built-program.ts';
import { withWorkers } from './workers.ts';

export interface TestGateway extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Of `server.admin_listen`; null without one. */
  readonly adminUrl: string | null;
  readonly gateway: Gateway;
  readonly folder: string;
  /** JSON lines of the log so far. */
  readonly lines: readonly string[];
  /** How many waits the gateway's clock has armed. */
  armedTimers(): number;
  /** Writes another configuration file, as `startTestGateway` was given it. Nobody watches it: a reload reads it. */
  rewrite(yaml: string, server?: string): Promise<void>;
  /** `GET /gateway/status`. */
  status(): Promise<Record<string, never>>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
}

export interface TestGatewayOptions {
  /** YAML without `server`; models and drivers. */
  readonly yaml: string;
  /** Lines under `server:`, indented by two. */
  readonly server?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Of an earlier run: adopted, and not removed at the end. */
  readonly folder?: string;
  /** Recount the whole state after every step; on unless said otherwise. */
  readonly recount?: boolean;
  /** The gateway's clock runs so many times faster than the engines': for limits of whole minutes. */
  readonly speed?: number;
  /** Changes the machine under the gateway: a system that is slow, or refuses. */
  readonly platform?: (real: Platform) => Platform;
  /** Where the data plane's sockets come from, if not from the system as it is. */
  readonly network?: Network;
  /** The built dashboard stands at `/`. */
  readonly dashboard?: boolean;
  /** Sent by `status()` and `post()`, where the gateway asks for a key. */
  readonly adminKey?: string;
}

const DASHBOARD = fileURLToPath(new URL('../../dist/web', import.meta.url));
/** Ports of one gateway, and of one test process. */
const PORTS = 20;
const PORTS_OF_PROCESS = 100;
let gateways = 0;

/**
 * Test files run side by side, each in a process of its own: their engines must not meet on one port, nor an engine of one
 * test with one of the test before, which may still be ending.
 */
function withOwnPorts(config: Config): Config {
  const { portRange, command } = config.drivers.process;
  if (portRange.last - portRange.first < 100 * PORTS_OF_PROCESS - 1) return config;
  const ofProcess = portRange.first + (process.pid % 100) * PORTS_OF_PROCESS;
  const first = ofProcess + ((gateways++ * PORTS) % PORTS_OF_PROCESS);
  return {
    ...config,
    drivers: { ...config.drivers, process: { command, portRange: { first, last: first + PORTS - 1 } } },
  };
}

export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'vgw-test-')));
  const file = join(folder, 'gateway.yaml');
  // What changes the world under a gateway does not reach other processes.
  const plain = !options.speed && !options.platform && !options.network;
  const rewrite = (yaml: string, server = options.server ?? ''): Promise<void> =>
    writeFile(
      file,
      `server:\n  listen: 127.0.0.1:0\n  state_dir: ${join(folder, 'data')}\n${plain ? withWorkers(server) : server}\n${yaml}\n`,
    );
  await rewrite(options.yaml);
  const env = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    VLLM_GATEWAY_RECOUNT: options.recount === false ? '0' : '1',
    ...options.env,
  };
  const real = createPlatform();
  const counted = countingClock(options.speed ? fasterClock(real.clock, options.speed) : real.clock);
  const machine = { ...real, clock: counted.clock, env };
  const platform = options.platform ? options.platform(machine) : machine;
  const load = (running?: Config): Promise<LoadResult> =>
    loadConfig({ flags: { config: file }, env, files: platform.files, cwd: folder, running });
  const loaded = await load();
  if (!loaded.config) throw new Error(loaded.problems.map(renderProblem).join('\n'));
  const config = withOwnPorts(loaded.config);
  const workerProgram = join(dirname(builtProgram()), 'worker.js');
  const lines: string[] = [];
  const telemetry = createTelemetry({
    level: 'debug',
    format: 'json',
    output: { write: (line) => lines.push(line) },
    clock: platform.clock,
    isModel: (name) => config.models.has(name),
    processMetrics: false,
  });
  const gateway = await createGateway({
    config,
    platform,
    telemetry,
    version: '0.0.0-test',
    pid: process.pid,
    workerProgram,
    ...(options.network && { network: options.network }),
    ...(options.dashboard && { dashboard: DASHBOARD }),
    source: { load, files: [] },
  });
  const { listen, adminListen } = await gateway.start();
  const url = `http://127.0.0.1:${listen.port}`;
  const authorization = options.adminKey === undefined ? {} : { authorization: `Bearer ${options.adminKey}` };
  return {
    url,
    port: listen.port,
    adminUrl: adminListen && `http://127.0.0.1:${adminListen.port}`,
    gateway,
    folder,
    lines,
    armedTimers: counted.armed,
    rewrite,
    status: async () =>
      (await fetch(`${url}/gateway/status`, { headers: authorization })).json() as Promise<Record<string, never>>,
    post: (path, body, init = {}) =>
      fetch(url + path, {
        method: 'POST',
        ...init,
        headers: {
          'content-type': 'application/json',
          ...authorization,
          ...Object.fromEntries(new Headers(init.headers)),
        },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: async () => {
      await gateway.close();
      telemetry[Symbol.dispose]();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

function fasterClock(clock: Clock, speed: number): Clock {
  return {
    monotonic: () => clock.monotonic() * speed,
    wall: () => clock.wall(),
    after: (delay, run) => clock.after(delay / speed, run),
    afterReads: (run) => clock.afterReads(run),
    sleep: (delay, signal) => clock.sleep(delay / speed, signal),
  };
}

function countingClock(clock: Clock): { readonly clock: Clock; readonly armed: () => number } {
  const armed = new Set<object>();
  return {
    armed: () => armed.size,
    clock: {
      monotonic: () => clock.monotonic(),
      wall: () => clock.wall(),
      afterReads: (run) => clock.afterReads(run),
      after: (delay, run) => {
        const mark = {};
        armed.add(mark);
        const timer = clock.after(delay, () => {
          armed.delete(mark);
          run();
        });
        return {
          [Symbol.dispose]: () => {
            armed.delete(mark);
            timer[Symbol.dispose]();
          },
        };
      },
      sleep: async (delay, signal) => {
        const mark = {};
        armed.add(mark);
        try {
          await clock.sleep(delay, signal);
        } finally {
          armed.delete(mark);
        }
      },
    },
  };
}
