/** The processes of a measurement: a gateway with its simulated engine, and a plain relay before the same engine. */
import type { Machine } from '../platform/machine.ts';
import type { Child, Platform } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { Target } from './load.ts';
import { RELAY_SCRIPT } from './relay-script.ts';

export interface StageOptions {
  readonly platform: Platform;
  readonly machine: Machine;
  /** What runs this program, before its arguments. */
  readonly program: readonly string[];
  readonly signal: AbortSignal;
}

export interface Stage extends AsyncDisposable {
  readonly engine: Target;
  readonly relay: Target & { readonly pid: number };
  readonly gateway: Target & { readonly pid: number };
}

export class BenchFailure extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BenchFailure';
  }
}

const START_LIMIT: Milliseconds = 10 * SECOND;
const LOOK_EVERY: Milliseconds = SECOND / 20;
const ASK_LIMIT: Milliseconds = 2 * SECOND;
const STOP_LIMIT: Milliseconds = 5 * SECOND;
const MODEL = 'bench';
const QUICK = {
  ...{ FAKE_VLLM_START_MS: '0', FAKE_VLLM_TTFT_MS: '0', FAKE_VLLM_TOKEN_MS: '0' },
  // Should the gateway die, its engine follows.
  FAKE_VLLM_ORPHAN_MAX_MS: '2000',
};

export async function openStage(options: StageOptions): Promise<Stage> {
  const folder = await options.machine.temporaryFolder('vllm-gateway-bench');
  const children: Child[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(children.map((child) => end(child, options.platform)));
    await folder[Symbol.asyncDispose]();
  };
  try {
    const gateway = await startGateway(options, folder.path, children);
    const engine = await findEngine(options, gateway.port);
    const relay = await startRelay(options, folder.path, engine, children);
    return { engine, gateway, relay, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Keys, files and limits as a gateway has them by default; on this machine's loopback, on a free port. */
function configuration(folder: string): string {
  return JSON.stringify({
    server: { listen: '127.0.0.1:0', state_dir: `${folder}/state`, on_shutdown: 'stop', shutdown_timeout: '1s' },
    log: { level: 'info', format: 'json' },
    limits: { max_concurrent: 256, max_models_concurrent: 1 },
    devices: { probe: 'none' },
    drivers: { default: 'process', process: { command: ['simulated-vllm'] } },
    models: { [MODEL]: { repo: 'bench/simulated', always_on: true, stop_timeout: '2s', env: QUICK } },
  });
}

async function startGateway(
  options: StageOptions,
  folder: string,
  children: Child[],
): Promise<Target & { readonly pid: number }> {
  const { platform, program } = options;
  const file = `${folder}/gateway.json`;
  await platform.files.writeAtomic(file, configuration(folder));
  const log = `${folder}/gateway.log`;
  const argv = [...program, 'serve', '--end-with-parent', '--config', file];
  const child = await spawn(platform, argv, log, children);
  const listening = /"url":"http:\/\/[^"]*:(\d+)\/?"/;
  const port = await portIn(options, log, listening, 'The gateway');
  await until(options, 'The simulated engine', async () => {
    const text = await get(platform, port, '/v1/models');
    return text?.includes('"state":"ready"') === true ? true : undefined;
  });
  return { port, pid: child.pid, model: MODEL, key: null };
}

interface StatusFacts {
  readonly active_containers?: Readonly<Record<string, { readonly port: number | null }>>;
  readonly replicas?: Readonly<Record<string, { readonly pid: number | null }>>;
}

async function findEngine(options: StageOptions, gatewayPort: number): Promise<Target> {
  const { platform } = options;
  const text = (await get(platform, gatewayPort, '/gateway/status')) ?? '{}';
  const status = JSON.parse(text) as StatusFacts;
  const port = Object.values(status.active_containers ?? {})[0]?.port ?? null;
  const pid = Object.values(status.replicas ?? {})[0]?.pid ?? null;
  if (port === null || pid === null) throw new BenchFailure('The gateway does not tell where its engine is.');
  // The key that the gateway gave to its engine: the others ask the same one, past the gateway.
  const environment = (await platform.files.readText(`/proc/${pid}/environ`)) ?? '';
  const key = /(?:^|\0)VLLM_API_KEY=([^\0]*)/.exec(environment)?.[1] ?? null;
  const answer = await get(platform, port, '/v1/models', key);
  const models = JSON.parse(answer ?? '{}') as { readonly data?: readonly { readonly id: string }[] };
  return { port, model: models.data?.[0]?.id ?? MODEL, key };
}

async function startRelay(
  options: StageOptions,
  folder: string,
  engine: Target,
  children: Child[],
): Promise<Target & { readonly pid: number }> {
  const { platform } = options;
  const log = `${folder}/relay.log`;
  const argv = [platform.executable, '--input-type=module', '-e', RELAY_SCRIPT, String(engine.port)];
  const child = await spawn(platform, argv, log, children);
  const port = await portIn(options, log, /^listening (\d+)$/m, 'The relay');
  return { ...engine, port, pid: child.pid };
}

/** In a small environment: no setting of this shell has a say. */
async function spawn(
  { files, subprocess, env }: Platform,
  argv: readonly string[],
  log: string,
  children: Child[],
): Promise<Child> {
  const output = await files.openAppend(log);
  try {
    const child = await subprocess.spawn(argv, {
      env: { PATH: env['PATH'] ?? '', HOME: env['HOME'] ?? '' },
      output,
    });
    children.push(child);
    return child;
  } finally {
    await files.closeDescriptor(output);
  }
}

function portIn(options: StageOptions, log: string, pattern: RegExp, what: string): Promise<number> {
  return until(options, what, async () => {
    const found = pattern.exec((await options.platform.files.readText(log)) ?? '')?.[1];
    return found === undefined ? undefined : Number(found);
  });
}

async function until<Found>(
  { platform: { clock }, signal }: StageOptions,
  what: string,
  look: () => Promise<Found | undefined>,
): Promise<Found> {
  const began = clock.monotonic();
  while (clock.monotonic() - began < START_LIMIT) {
    const found = await look();
    if (found !== undefined) return found;
    await clock.sleep(LOOK_EVERY, signal);
  }
  throw new BenchFailure(`${what} was not ready within ${START_LIMIT / SECOND} s.`);
}

async function get(
  { http }: Platform,
  port: number,
  path: string,
  key: string | null = null,
): Promise<string | undefined> {
  try {
    const answer = await http.get(`http://127.0.0.1:${port}${path}`, {
      timeout: ASK_LIMIT,
      ...(key === null ? {} : { headers: { authorization: `Bearer ${key}` } }),
    });
    return answer.status === 200 ? answer.body : undefined;
  } catch (error) {
    // Not yet: whoever waits for it looks again.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

async function end({ pid, exited }: Child, { subprocess, clock }: Platform): Promise<void> {
  subprocess.signal(-pid, 'SIGTERM');
  const over = new AbortController();
  const late = clock.sleep(STOP_LIMIT, over.signal).then(
    () => subprocess.signal(-pid, 'SIGKILL'),
    () => false,
  );
  await Promise.race([exited, late]);
  over.abort();
  await exited;
}
