/** A gateway for a browser to look at: two devices, room for two of its models, and one model that cannot start. */
import { mkdtemp, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { freePort } from './fake-vllm.ts';
import { runProgram, type GatewayProcess } from './gateway-process.ts';

const START_MS = '1500';

/** Of the configuration file, what tests change. */
export interface FleetFile {
  readonly limits: Record<string, unknown>;
  readonly models: Record<string, Record<string, unknown>>;
  readonly [section: string]: unknown;
}

function fileOf(port: number, folder: string, adminPort: number | null): FleetFile {
  const first = 20_000 + (process.pid % 95) * 100;
  const model = (repo: string, more: object = {}): Record<string, unknown> => ({
    repo,
    memory: '20GiB',
    env: { FAKE_VLLM_START_MS: START_MS, FAKE_VLLM_TOKEN_MS: '10' },
    ...more,
  });
  return {
    server: {
      listen: `127.0.0.1:${port}`,
      state_dir: join(folder, 'data'),
      ...(adminPort === null ? {} : { admin_listen: `127.0.0.1:${adminPort}` }),
    },
    limits: { min_residency: '0s' },
    devices: {
      probe: 'simulated',
      list: [
        { id: 'gpu-0', memory: '24GiB' },
        { id: 'gpu-1', memory: '24GiB' },
      ],
    },
    drivers: { default: 'process', process: { command: ['simulated-vllm'], port_range: `${first}-${first + 99}` } },
    models: {
      'llama-8b': model('meta-llama/Llama-3.1-8B-Instruct', { aliases: ['gpt-4o-mini'] }),
      'qwen-7b': model('Qwen/Qwen2.5-7B-Instruct'),
      'mistral-7b': model('mistralai/Mistral-7B-Instruct-v0.3'),
      'broken-1b': model('example/Broken-1B', {
        memory: '1GiB',
        env: { FAKE_VLLM_START_MS: '300', FAKE_VLLM_FAULT: 'bad_model_files' },
      }),
    },
  };
}

export class DashboardFleet implements AsyncDisposable {
  readonly url: string;
  readonly #folder: string;
  readonly #env: Readonly<Record<string, string>>;
  #started: GatewayProcess | null = null;

  readonly #file: FleetFile;

  private constructor(url: string, folder: string, file: FleetFile, env: Readonly<Record<string, string>>) {
    this.url = url;
    this.#file = file;
    this.#folder = folder;
    this.#env = env;
  }

  /** `adminPort`: the control plane listens there. */
  static async start(
    env: Readonly<Record<string, string>> = {},
    adminPort: number | null = null,
  ): Promise<DashboardFleet> {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), 'vgw-browser-'));
    const fleet = new DashboardFleet(`http://127.0.0.1:${port}`, folder, fileOf(port, folder, adminPort), env);
    await fleet.rewrite(() => undefined);
    fleet.#started = fleet.#run();
    await fleet.listening();
    return fleet;
  }

  /** Another configuration file, a line for each value; `change` begins from what was written last. */
  async rewrite(change: (file: FleetFile) => void): Promise<void> {
    change(this.#file);
    // Moved into its place, as editors do: nobody reads half of it.
    const next = join(this.#folder, 'gateway.yaml.next');
    await writeFile(next, JSON.stringify(this.#file, null, 2));
    await rename(next, join(this.#folder, 'gateway.yaml'));
  }

  get #gateway(): GatewayProcess {
    if (this.#started === null) throw new Error('the gateway has not been started');
    return this.#started;
  }

  #run(): GatewayProcess {
    return runProgram(this.#folder, ['serve', '--config', 'gateway.yaml'], this.#env);
  }

  listening(): Promise<void> {
    return this.#gateway.listening();
  }

  /** Ends the gateway and its engines as an operator would. */
  async stop(): Promise<void> {
    this.#gateway.signal('SIGTERM');
    await this.#gateway.exit;
  }

  /** The same configuration, port and state. */
  async startAgain(): Promise<void> {
    this.#started = this.#run();
    await this.listening();
  }

  async stateOf(model: string): Promise<string> {
    const { models } = (await this.#gateway.status()) as unknown as {
      readonly models: Readonly<Record<string, { readonly state: string }>>;
    };
    return models[model]?.state ?? 'unknown';
  }

  untilState(model: string, state: string): Promise<unknown> {
    return eventually(`${model} is ${state}`, async () => (await this.stateOf(model)) === state);
  }

  async send(command: string, model: string): Promise<void> {
    await fetch(`${this.url}/gateway/models/${model}/${command}?wait=true`, { method: 'POST' });
  }

  /** Asked of this very machine, without a browser: the status of the answer. */
  async reload(): Promise<number> {
    return (await fetch(`${this.url}/gateway/reload`, { method: 'POST' })).status;
  }

  /** How many reloads there have been, whatever came of them. */
  async reloads(): Promise<number> {
    const metrics = await (await fetch(`${this.url}/metrics`)).text();
    const counts = metrics.matchAll(/^vllm_gateway_config_reloads_total\{[^}]*\} (\d+)/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** How many decisions there have been. */
  async decisions(): Promise<number> {
    const answer = await fetch(`${this.url}/gateway/events?follow=false`, { headers: { 'last-event-id': '0' } });
    return (await answer.text()).split('event: decision').length - 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway[Symbol.asyncDispose]();
  }
}
