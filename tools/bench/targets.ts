/** What is measured side by side: each stands between the load and the same pretended engine. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startGateway, type Build } from './gateway-target.ts';
import { answers, folderOf, freePort, HERE, launch, pinToLoad, pinToProxy, running, scratch, until } from './launch.ts';

export interface Running {
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Processes whose CPU time counts. */
  pids(): readonly number[];
  /** Processes behind it that belong to the measurement. */
  engines(): readonly number[];
  /** How late its event loop was since it was last asked, milliseconds, the 99th percentile; null = not to be asked. */
  loop(): Promise<number | null>;
  stop(): Promise<void>;
}

export interface Target {
  readonly name: string;
  /** Set where it is a build of this program. */
  readonly build?: Build;
  /** Finds out from the body who is to serve. */
  readonly readsBody: boolean;
  /** Null when it is not on this machine. */
  start(engine: Running): Promise<Running | null>;
}

/** Counts the common engine among what belongs to the measurement. */
const before = (engine: Running, target: Running): Running => ({
  ...target,
  engines: () => [...target.engines(), ...engine.pids()],
});

export const gatewayTarget = (build: Build): Target => ({
  name: build.name,
  build,
  readsBody: true,
  start: () => startGateway(build, { watched: true }),
});

/** Nothing in between: what load and engine cost in delay. */
export const direct: Target = {
  name: 'nothing in between',
  readsBody: false,
  start: (engine) =>
    Promise.resolve({
      ...{ port: engine.port, headers: {}, pids: () => [], engines: () => engine.pids() },
      ...{ loop: () => Promise.resolve(null), stop: () => Promise.resolve() },
    }),
};

function relay(name: string, file: string): Target {
  return {
    name,
    readsBody: false,
    async start(engine) {
      const port = await freePort();
      const launched = launch([process.execPath, join(HERE, file), String(port), String(engine.port)], scratch());
      await until(() => answers(port, '/health'), name, launched.child);
      return before(engine, running(launched, port));
    },
  };
}

/** What anybody writes in an afternoon. */
export const naive = relay('naive node:http relay', 'naive-relay.mjs');
/** Looks at nothing: the floor of what Node can do. */
export const blind = relay('blind net.pipe', 'blind-relay.mjs');

function configured(
  name: string,
  command: (folder: string, file: string) => readonly string[],
  configuration: (folder: string, port: number, enginePort: number) => string,
): Target {
  return {
    name,
    readsBody: false,
    async start(engine) {
      const [program = ''] = command('', '');
      if (folderOf(program) === undefined) return null;
      const folder = scratch();
      const port = await freePort();
      const file = join(folder, 'configuration');
      writeFileSync(file, configuration(folder, port, engine.port));
      const launched = launch(command(folder, file), folder);
      await until(() => answers(port, '/health'), name, launched.child);
      if (launched.child.pid !== undefined) pinToProxy(launched.child.pid);
      return before(engine, running(launched, port));
    },
  };
}

export const nginx = configured(
  'nginx',
  (folder, file) => ['nginx', '-c', file, '-p', folder],
  (folder, port, enginePort) =>
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

export const haproxy = configured(
  'haproxy',
  (_folder, file) => ['haproxy', '-f', file],
  (_folder, port, enginePort) =>
    `global
  maxconn 16384
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option http-keep-alive
  option http-no-delay
  http-reuse always
frontend in
  bind 127.0.0.1:${port} backlog 4096
  default_backend engine
backend engine
  server one 127.0.0.1:${enginePort} pool-max-conn 6000
`,
);

/** The pretended engine that all but the gateway stand before. */
export async function startEngine(): Promise<Running> {
  const port = await freePort();
  const launched = launch([process.execPath, join(HERE, 'engine.mjs'), '--port', String(port)], scratch());
  await until(() => answers(port, '/health'), 'the engine', launched.child);
  if (launched.child.pid !== undefined) pinToLoad(launched.child.pid);
  return running(launched, port);
}
