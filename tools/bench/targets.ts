/** What is measured side by side: each stands between the load and the same pretended engine. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pin, processTree } from './machine.ts';

export const PROXY_CPU = 0;
export const LOAD_CPU = 1;

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = join(HERE, '..', '..');
const TSX = [process.execPath, '--import', 'tsx'];

export interface Running {
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Processes whose CPU time counts. */
  pids(): readonly number[];
  stop(): Promise<void>;
}

export interface Target {
  readonly name: string;
  /** Reads the body to find out who is to serve. */
  readonly readsBody: boolean;
  /** Null when it is not on this machine. */
  start(enginePort: number): Promise<Running | null>;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

export async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (performance.now() < deadline) {
    if (await condition().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${what} was not ready within 30 s`);
}

const answers = (port: number, path: string): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}${path}`).then((answer) => answer.ok);

interface Launched {
  readonly child: ChildProcess;
  readonly folder: string;
}

function launch(argv: readonly string[], folder: string, env: Readonly<Record<string, string>> = {}): Launched {
  const [command = '', ...args] = argv;
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  child.on('error', () => undefined);
  if (child.pid !== undefined) pin(child.pid, PROXY_CPU);
  return { child, folder };
}

function running({ child, folder }: Launched, port: number, headers = {}, counted?: () => readonly number[]): Running {
  return {
    port,
    headers,
    pids: counted ?? (() => (child.pid === undefined ? [] : processTree([child.pid]))),
    async stop() {
      const gone = new Promise<void>((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        else child.once('exit', () => resolve());
      });
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(late);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const scratch = (): string => mkdtempSync(join(tmpdir(), 'vgw-bench-'));

export function has(command: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, command)));
}

export const BENCH_KEY = 'bench-key-0123456789';

/** Everything on: keys, queue, ledger, metrics, access log. */
export function gateway(
  name: string,
  root: string,
  over: { readonly maxConcurrent?: number; readonly maxQueue?: number } = {},
): Target {
  return {
    name,
    readsBody: true,
    async start() {
      const folder = scratch();
      const port = await freePort();
      const config = {
        server: { listen: `127.0.0.1:${port}`, state_dir: join(folder, 'state') },
        auth: { keys: [{ id: 'bench', key: BENCH_KEY, roles: ['inference', 'metrics', 'admin'], models: ['*'] }] },
        limits: {
          max_concurrent: over.maxConcurrent ?? 6_000,
          max_models_concurrent: 1,
          ...(over.maxQueue === undefined ? {} : { max_queue_size: over.maxQueue }),
        },
        devices: { probe: 'none' },
        models: {
          bench: {
            command: [...TSX, join(HERE, 'engine.ts'), '--port', '${port}'],
            health_path: '/health',
            always_on: true,
          },
        },
      };
      const file = join(folder, 'gateway.json');
      writeFileSync(file, JSON.stringify(config));
      const launched = launch(
        [process.execPath, join(root, 'dist', 'src', 'main.js'), 'serve', '--config', file],
        folder,
      );
      const headers = { authorization: `Bearer ${BENCH_KEY}` };
      await until(
        () =>
          fetch(`http://127.0.0.1:${port}/v1/models`, { headers })
            .then((answer) => answer.json() as Promise<{ data: { state: string }[] }>)
            .then(({ data }) => data[0]?.state === 'ready'),
        name,
      );
      const { pid } = launched.child;
      // Its engine is the same as everybody's, on the CPU of the load.
      for (const child of pid === undefined ? [] : processTree([pid])) if (child !== pid) pin(child, LOAD_CPU);
      return running(launched, port, headers, () => (pid === undefined ? [] : [pid]));
    },
  };
}

function relay(name: string, file: string, readsBody: boolean): Target {
  return {
    name,
    readsBody,
    async start(enginePort) {
      const port = await freePort();
      const argv = [process.execPath, join(HERE, file), String(port), String(enginePort)];
      const launched = launch(argv, scratch());
      await until(() => answers(port, '/health'), name);
      return running(launched, port);
    },
  };
}

/** What anybody writes in an afternoon. */
export const naive = relay('naive node:http relay', 'naive-relay.mjs', false);
/** Looks at nothing: the floor of what Node can do. */
export const blind = relay('blind net.pipe', 'blind-relay.mjs', false);

export const nginx: Target = {
  name: 'nginx',
  readsBody: false,
  async start(enginePort) {
    if (!has('nginx')) return null;
    const folder = scratch();
    const port = await freePort();
    const file = join(folder, 'nginx.conf');
    writeFileSync(
      file,
      `daemon off; worker_processes 1; error_log ${folder}/error.log crit; pid ${folder}/pid;
events { worker_connections 16384; }
http {
  access_log off; client_body_buffer_size 8m; client_max_body_size 64m; keepalive_requests 1000000;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  upstream engine { server 127.0.0.1:${enginePort}; keepalive 6000; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / { proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 3600s; }
  }
}
`,
    );
    const launched = launch(['nginx', '-c', file, '-p', folder], folder);
    await until(() => answers(port, '/health'), 'nginx');
    const { pid } = launched.child;
    if (pid !== undefined) for (const child of processTree([pid])) pin(child, PROXY_CPU);
    return running(launched, port);
  },
};

export const haproxy: Target = {
  name: 'haproxy',
  readsBody: false,
  async start(enginePort) {
    if (!has('haproxy')) return null;
    const folder = scratch();
    const port = await freePort();
    const file = join(folder, 'haproxy.cfg');
    writeFileSync(
      file,
      `global
  maxconn 16384
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:${port} backlog 4096
  default_backend engine
backend engine
  server one 127.0.0.1:${enginePort} pool-max-conn 6000
`,
    );
    const launched = launch(['haproxy', '-f', file], folder);
    await until(() => answers(port, '/health'), 'haproxy');
    return running(launched, port);
  },
};

/** A server of another make, by its own command: `name=command with ${port} and ${engine} for the two ports`. */
export function byCommand(spec: string): Target {
  const equals = spec.indexOf('=');
  const name = spec.slice(0, equals);
  const words = spec.slice(equals + 1).split(' ');
  return {
    name,
    readsBody: true,
    async start(enginePort) {
      const port = await freePort();
      const fill = (word: string): string =>
        word.replaceAll('${port}', String(port)).replaceAll('${engine}', String(enginePort));
      const launched = launch(words.map(fill), scratch());
      await until(() => answers(port, '/health'), name);
      return running(launched, port);
    },
  };
}

/** The pretended engine that all but the gateway stand before. */
export async function startEngine(): Promise<Running> {
  const port = await freePort();
  const launched = launch([...TSX, join(HERE, 'engine.ts'), '--port', String(port)], scratch());
  await until(() => answers(port, '/health'), 'the engine');
  const { pid } = launched.child;
  if (pid !== undefined) for (const child of processTree([pid])) pin(child, LOAD_CPU);
  return running(launched, port);
}
