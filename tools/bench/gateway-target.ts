/** The gateway before engines of its own, with everything on: keys, queue, ledger, metrics, access log. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandLine } from './machine.ts';
import { freePort, HERE, launch, pinToLoad, running, scratch, until } from './launch.ts';
import type { Running } from './targets.ts';

const KEY = 'bench-key-0123456789';
const ENGINE = join(HERE, 'engine.mjs');
const ASK_LIMIT_MS = 2_000;
export const AUTHORIZED = { authorization: `Bearer ${KEY}` };

export interface Build {
  readonly name: string;
  /** The folder that holds `dist`. */
  readonly root: string;
}

export interface GatewayOptions {
  readonly maxConcurrent?: number;
  readonly maxQueue?: number;
  /** Other models than the one that is always on. */
  readonly models?: Readonly<Record<string, object>>;
  readonly devices?: object;
  readonly modelsConcurrent?: number;
  /** `server.workers`. */
  readonly workers?: number;
  /** Before the program: flags of Node. */
  readonly node?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Asks how late its event loop is; costs 100 timers a second. */
  readonly watched?: boolean;
}

/** `tell`: a file that gets the wall clock at the start of the command, then from the engine once it listens. */
export function engineCommand(tell?: string): readonly string[] {
  const engine = [process.execPath, ENGINE, '--port', '${port}'];
  if (tell === undefined) return engine;
  return ['bash', '-c', `echo "$EPOCHREALTIME" >>"$0" && exec "$@"`, tell, ...engine, '--tell', tell];
}

const ALWAYS_ON = { bench: { command: engineCommand(), health_path: '/health', always_on: true } };

export async function startGateway({ root, name }: Build, options: GatewayOptions = {}): Promise<Running> {
  const folder = scratch();
  const port = await freePort();
  const models = options.models ?? ALWAYS_ON;
  const config = {
    server: { listen: `127.0.0.1:${port}`, state_dir: join(folder, 'state'), workers: options.workers ?? 1 },
    auth: { keys: [{ id: 'bench', key: KEY, roles: ['inference', 'metrics', 'admin'], models: ['*'] }] },
    limits: {
      max_concurrent: options.maxConcurrent ?? 6_000,
      max_models_concurrent: options.modelsConcurrent ?? 1,
      ...(options.maxQueue === undefined ? {} : { max_queue_size: options.maxQueue }),
    },
    devices: options.devices ?? { probe: 'none' },
    models,
  };
  const file = join(folder, 'gateway.json');
  writeFileSync(file, JSON.stringify(config));
  const channel = options.watched ?? false;
  const node = [
    ...(channel ? ['--import', join(HERE, 'in-gateway.mjs')] : []),
    ...(options.node ?? []),
    join(root, 'dist', 'src', 'main.js'),
  ];
  const launched = launch([process.execPath, ...node, 'serve', '--config', file], folder, {
    env: options.env ?? {},
    channel,
  });
  const ready = async (): Promise<boolean> => {
    const signal = AbortSignal.timeout(ASK_LIMIT_MS);
    const answer = await fetch(`http://127.0.0.1:${port}/v1/models`, { headers: AUTHORIZED, signal });
    const { data } = (await answer.json()) as { data: { state: string }[] };
    return options.models !== undefined || data[0]?.state === 'ready';
  };
  await until(ready, name, launched.child);
  const isEngine = (pid: number): boolean => commandLine(pid).includes(ENGINE);
  const gateway = running(launched, port, { headers: AUTHORIZED, isEngine, channel });
  // Its engine is the same as everybody's, on the CPU of the load.
  for (const pid of gateway.engines()) pinToLoad(pid);
  return gateway;
}
