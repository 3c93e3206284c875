/**
 * Other gateways, measured when they are there: by a command in PATH, or by `--peer NAME=COMMAND`, in which `${port}`, `${engine}` and
 * `${folder}` are filled in. Each serves the model `bench` from the pretended engine and takes any key.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AUTHORIZED } from './gateway-target.ts';
import { folderOf, freePort, launch, running, scratch, until } from './launch.ts';
import { plainAsk } from './asks.ts';
import { LoadClient } from './client.ts';
import type { Target } from './targets.ts';

interface Peer {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Written into the folder as `configuration`. */
  readonly configuration?: string;
}

const ENGINE_URL = 'http://127.0.0.1:${engine}';
const WHERE = ['--host', '127.0.0.1', '--port', '${port}'];
const ROUTER = [
  ...WHERE,
  ...['--worker-urls', ENGINE_URL, '--policy', 'round_robin', '--max-concurrent-requests', '8192'],
  ...['--prometheus-host', '127.0.0.1', '--prometheus-port', '${other}'],
];

/** Commands as their packages install them; switches that make them do less than they do by default are left alone. */
const PEERS: Readonly<Record<string, Peer>> = {
  'vllm-router': { command: 'vllm-router', arguments: [...ROUTER, '--log-level', 'warning'] },
  'sglang-router': {
    // The Python that has the package.
    command: process.env['SGLANG_PYTHON'] ?? '',
    arguments: ['-m', 'sglang_router.launch_router', ...ROUTER, '--log-level', 'warn'],
  },
  litellm: {
    command: 'litellm',
    arguments: ['--config', '${folder}/configuration', ...WHERE, '--num_workers', '1', '--telemetry', 'False'],
    env: { LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_LOG: 'ERROR', LITELLM_MODE: 'PRODUCTION' },
    configuration: `model_list: [{ model_name: bench, litellm_params: { model: openai/bench, api_base: "${ENGINE_URL}/v1", api_key: any } }]\n`,
  },
  'llama-swap': {
    command: 'llama-swap',
    arguments: ['-config', '${folder}/configuration', '-listen', '127.0.0.1:${port}'],
    configuration: `logLevel: warn\nmodels: { bench: { cmd: sleep 100000, proxy: "${ENGINE_URL}", checkEndpoint: none, concurrencyLimit: 20000 } }\n`,
  },
  portkey: {
    // Its `start-server.js`.
    command: process.env['PORTKEY_SERVER'] === undefined ? '' : process.execPath,
    arguments: [process.env['PORTKEY_SERVER'] ?? '', '--port=${port}', '--headless'],
    headers: { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${ENGINE_URL}/v1` },
  },
};

const GIVEN_LIMIT_MS = 5_000;

function peerTarget(name: string, peer: Peer): Target {
  return {
    name,
    readsBody: true,
    async start(engine) {
      if (!peer.command.includes('/') && (peer.command === '' || folderOf(peer.command) === undefined)) return null;
      const folder = scratch();
      const [port, other] = [await freePort(), await freePort()];
      const fill = (text: string): string =>
        text
          .replaceAll('${port}', String(port))
          .replaceAll('${other}', String(other))
          .replaceAll('${engine}', String(engine.port))
          .replaceAll('${folder}', folder);
      const filled = (all: Readonly<Record<string, string>> = {}): Record<string, string> =>
        Object.fromEntries(Object.entries(all).map(([key, value]) => [key, fill(value)]));
      if (peer.configuration !== undefined) writeFileSync(join(folder, 'configuration'), fill(peer.configuration));
      const argv = [peer.command, ...peer.arguments.map(fill)];
      const launched = launch(argv, folder, { env: { PORT: String(port), ...filled(peer.env) } });
      const headers = { ...AUTHORIZED, ...filled(peer.headers) };
      const target = running(launched, port, { headers });
      try {
        await until(() => serves(port, headers), name, launched.child);
      } catch (error) {
        await target.stop();
        console.error(`${name} does not serve: ${error instanceof Error ? error.message : String(error)}`);
        return null;
      }
      return { ...target, engines: () => engine.pids() };
    },
  };
}

async function serves(port: number, headers: Readonly<Record<string, string>>): Promise<boolean> {
  const client = new LoadClient(port, headers);
  const late = setTimeout(() => client.close(), GIVEN_LIMIT_MS);
  try {
    const gaveUp = new Promise<never>((_, reject) => setTimeout(reject, GIVEN_LIMIT_MS).unref());
    return (await Promise.race([client.ask(plainAsk(100)), gaveUp])).fault === null;
  } finally {
    clearTimeout(late);
    client.close();
  }
}

export const knownPeers: readonly Target[] = Object.entries(PEERS).map(([name, peer]) => peerTarget(name, peer));

/** `name=command with ${port} and ${engine} for the two ports`. */
export function byCommand(spec: string): Target {
  const equals = spec.indexOf('=');
  const [command = '', ...rest] = spec.slice(equals + 1).split(' ');
  return peerTarget(spec.slice(0, equals), { command, arguments: rest });
}
