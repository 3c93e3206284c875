/** A configuration that names a `vllm` in PATH: what changes from the simulated engine is command, repo and flags. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineUrl } from '../support/engine-view.ts';
import { fakeVllmPath } from '../support/fake-vllm.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';

const LOGS = fileURLToPath(new URL('../fixtures/vllm/logs/', import.meta.url));
const UUID = 'GPU-5a1c8f3e-0000-4000-8000-000000000001';
/** The flags that the recorded engine was started with, beyond those the configuration has keys for. */
const FLAGS = ['--load-format', 'dummy'];

const common = {
  devices: { probe: 'static', list: [{ id: 'gpu-0', memory: '24GiB', uuid: UUID }] },
  model: { aliases: ['small'], dtype: 'float32', max_model_len: 512, max_num_seqs: 4, memory: '12GiB' },
};

let folder: string;
let gateway: TestGateway;
let answered: unknown;
let argv: readonly string[];
let environment: ReadonlyMap<string, string>;

/** What the simulated engine of the demo and a real one share, with the three differences filled in. */
function yamlWith(command: readonly string[], repo: string, flags: readonly string[]): string {
  const model = { ...common.model, repo, extra_args: ['--enforce-eager', ...flags] };
  return [
    `devices: ${JSON.stringify(common.devices)}`,
    `drivers: ${JSON.stringify({ default: 'process', process: { command } })}`,
    `models: ${JSON.stringify({ 'org/tiny': model })}`,
  ].join('\n');
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-vllm-'));
  const script = [
    '#!/bin/sh',
    `printf '%s\\n' "$@" > '${folder}/argv'`,
    `env > '${folder}/env'`,
    `exec '${process.execPath}' '${fakeVllmPath()}' "$@"`,
  ];
  await writeFile(join(folder, 'vllm'), `${script.join('\n')}\n`);
  await chmod(join(folder, 'vllm'), 0o755);
  gateway = await startTestGateway({
    yaml: yamlWith(['vllm'], '/models/tiny', FLAGS),
    env: {
      PATH: `${folder}${delimiter}${process.env['PATH'] ?? ''}`,
      FAKE_VLLM_START_MS: '50',
      GATEWAY_API_KEYS: 'sk-client',
      GATEWAY_ADMIN_KEY: 'sk-admin',
      SECRET_OF_THE_GATEWAY: 'never to be seen by an engine',
      VLLM_API_KEY: 'sk-of-another-server',
    },
    adminKey: 'sk-admin',
  });
  const answer = await gateway.post('/v1/chat/completions', {
    model: 'small',
    messages: [{ role: 'user', content: 'nonce:v1' }],
  });
  answered = await answer.json();
  argv = (await readFile(join(folder, 'argv'), 'utf8')).trimEnd().split('\n');
  const lines = (await readFile(join(folder, 'env'), 'utf8')).split('\n');
  environment = new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** The dictionaries that the recorded engines printed of their own arguments. */
function recordedArguments(): readonly Readonly<Record<string, string>>[] {
  return readdirSync(LOGS)
    .flatMap((name) => [...readFileSync(join(LOGS, name), 'utf8').matchAll(/non-default args: (\{.*\})/g)])
    .map(([, text = '']) => dictionary(text));
}

function dictionary(text: string): Readonly<Record<string, string>> {
  const pairs = [...text.matchAll(/'(\w+)': ('[^']*'|\[[^\]]*\]|[^,}]+)/g)];
  return Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value]));
}

function flag(name: string): string | undefined {
  const at = argv.indexOf(name);
  return at === -1 ? undefined : argv[at + 1];
}

describe('a real executable', () => {
  it('gets the arguments of `vllm serve`, and answers', () => {
    expect(answered).toMatchObject({ model: 'small', choices: [{ message: { role: 'assistant' } }] });
    expect(argv.slice(0, 2)).toEqual(['serve', '/models/tiny']);
    expect(flag('--served-model-name')).toBe('org/tiny');
    expect(flag('--host')).toBe('127.0.0.1');
    expect(Number(flag('--port'))).toBeGreaterThanOrEqual(20_000);
    expect(flag('--gpu-memory-utilization')).toBe('0.5');
    expect(argv.slice(-FLAGS.length)).toEqual(FLAGS);
    // Only the canonical name: an alias more or less must not mean another engine.
    expect(argv).not.toContain('small');
  });

  it('understands them as a recorded engine understood its own', async () => {
    const recorded = recordedArguments();
    expect(recorded.length).toBeGreaterThan(0);
    const log = await (
      await fetch(`${gateway.url}/gateway/replicas/${await replicaId()}/logs?tail=10000`, {
        headers: { authorization: 'Bearer sk-admin' },
      })
    ).text();
    const ours = dictionary(/non-default args: (\{.*\})/.exec(log)?.[1] ?? '');
    const theirs = recorded.find((entry) => entry['model'] === "'/models/tiny'" && 'kv_cache_memory_bytes' in entry);
    const { kv_cache_memory_bytes: _sizedByTheGateway, ...given } = theirs ?? {};
    const same = { ...given, port: ours['port'], gpu_memory_utilization: '0.5', served_model_name: "['org/tiny']" };
    expect(ours).toMatchObject(same);
    const added = Object.keys(ours).filter((name) => !(name in same));
    // Nobody knows the version of an executable before it has started once: it gets what all versions have.
    expect(added.sort()).toEqual(['disable_uvicorn_access_log', 'enable_request_id_headers', 'tensor_parallel_size']);
  });

  it('gets its devices and a key of its own, and nothing of the gateway', () => {
    expect(environment.get('CUDA_VISIBLE_DEVICES')).toBe(UUID);
    expect(environment.get('CUDA_DEVICE_ORDER')).toBe('PCI_BUS_ID');
    expect(environment.get('VLLM_API_KEY')).toMatch(/^[\w-]{32,}$/);
    expect([...environment.values()].join('\n')).not.toMatch(/sk-client|sk-admin|sk-of-another|never to be seen/);
  });

  it('asks for that key, which nobody else has [item 55]', async () => {
    const url = await engineUrl(gateway, 'org/tiny');
    const key = environment.get('VLLM_API_KEY') ?? '';
    const statusWith = async (bearer: string): Promise<number> =>
      (await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${bearer}` } })).status;
    expect(await statusWith('sk-client')).toBe(401);
    expect(await statusWith('sk-admin')).toBe(401);
    expect(await statusWith(key)).toBe(200);
    expect(argv.join(' ')).not.toContain(key);
    expect(gateway.lines.join('')).not.toContain(key);
    for (const path of ['/gateway/status', '/gateway/config', '/metrics']) {
      const answer = await fetch(gateway.url + path, { headers: { authorization: 'Bearer sk-admin' } });
      expect(await answer.text()).not.toContain(key);
    }
  });
});

it('the same configuration runs the simulated engine', async () => {
  await using simulated = await startTestGateway({
    yaml: yamlWith(['simulated-vllm'], 'org/tiny', []),
    env: { FAKE_VLLM_START_MS: '50' },
  });
  const answer = await simulated.post('/v1/completions', { model: 'small', prompt: 'Once' });
  expect(await answer.json()).toMatchObject({ model: 'small', object: 'text_completion' });
});

async function replicaId(): Promise<string> {
  const { replicas } = await gateway.status();
  return Object.keys(replicas ?? {})[0] ?? '';
}
