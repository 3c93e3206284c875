/** The control plane over a fake fleet, asked without sockets. */
import { createAdmin, type Admin } from '../../src/admin/create-admin.ts';
import type { AdminOptions, Bindings } from '../../src/admin/options.ts';
import type { StaticFile } from '../../src/admin/static-files.ts';
import { createAccess } from '../../src/auth/access.ts';
import { createTelemetry, type GatewayTelemetry } from '../../src/telemetry/create-telemetry.ts';
import type { Config } from '../../src/config/config.ts';
import { configOf } from './config-of.ts';
import { FakeFleetControl } from './fake-fleet-control.ts';
import { SeededRandom } from './test-platform.ts';
import { VirtualClock } from './virtual-clock.ts';

export const ADMIN_BENCH_YAML = `
server: { state_dir: /var/lib/gateway }
drivers: { default: process }
devices: { probe: simulated, list: [{ id: gpu-0, memory: 24GiB }, { id: gpu-1, memory: 24GiB }] }
models:
  llama: { repo: meta-llama/Llama-3.1-8B-Instruct, memory: 20GiB, max_model_len: 8192, aliases: [gpt-4o-mini] }
  Qwen/Qwen2.5-7B: { repo: Qwen/Qwen2.5-7B-Instruct, memory: 20GiB, max_model_len: 8192 }
`;

export interface AdminBench {
  readonly admin: Admin;
  readonly control: FakeFleetControl;
  readonly telemetry: GatewayTelemetry;
  readonly clock: VirtualClock;
  readonly config: Config;
  readonly logLines: string[];
  /** Asks as a local program does, unless told otherwise. */
  ask(path: string, init?: RequestInit, sent?: Partial<Bindings>): Promise<Response>;
}

export async function adminBench(
  yaml: string = ADMIN_BENCH_YAML,
  env: Readonly<Record<string, string>> = {},
  dashboard?: readonly StaticFile[],
  more: Pick<AdminOptions, 'reload' | 'inForce'> = {},
): Promise<AdminBench> {
  const config = await configOf(yaml, env);
  const clock = new VirtualClock();
  const control = new FakeFleetControl();
  const logLines: string[] = [];
  const telemetry = createTelemetry({
    level: 'debug',
    format: 'json',
    output: { write: (line) => logLines.push(line) },
    clock,
    isModel: (name) => config.models.has(name),
    processMetrics: false,
  });
  const proxyStats = () => ({ bufferedBytes: 4_096, connections: [] });
  telemetry.observe({ snapshot: () => control.snapshot(), proxyStats, configProblems: () => config.problems.length });
  const access = createAccess({
    auth: config.auth,
    allowedHosts: config.server.allowedHosts,
    corsOrigins: config.server.corsOrigins,
  });
  const admin = createAdmin({
    control,
    dashboard,
    config: () => config,
    access: () => access,
    telemetry,
    proxyStats,
    clock,
    random: new SeededRandom(1),
    gateway: { id: 'gw-1', version: '0.1.0' },
    ...more,
  });
  const ask = async (path: string, init: RequestInit = {}, sent: Partial<Bindings> = {}): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (!headers.has('host')) headers.set('host', '127.0.0.1:9000');
    const bindings: Bindings = {
      remoteAddress: '127.0.0.1',
      headers: Object.fromEntries(headers),
      rawHeaders: [...headers].flat(),
      loopbackListener: true,
      ...sent,
    };
    return admin.app.request(`http://127.0.0.1:9000${path}`, init, bindings);
  };
  return { admin, control, telemetry, clock, config, logLines, ask };
}

/** Reads a streamed body piece by piece. */
export class BodyReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  text = '';
  ended = false;

  constructor(response: Response) {
    if (!response.body) throw new Error('no body');
    this.#reader = response.body.getReader();
  }

  /** Everything so far, as soon as it holds `wanted` (or the body has ended). */
  async until(wanted: string): Promise<string> {
    while (!this.text.includes(wanted) && !this.ended) {
      const { value, done } = await this.#reader.read();
      this.ended = done;
      if (value) this.text += this.#decoder.decode(value, { stream: true });
    }
    if (!this.text.includes(wanted)) throw new Error(`ended without ${wanted}: ${this.text}`);
    return this.text;
  }

  async end(): Promise<string> {
    while (!this.ended) {
      const { value, done } = await this.#reader.read();
      this.ended = done;
      if (value) this.text += this.#decoder.decode(value, { stream: true });
    }
    return this.text;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}
