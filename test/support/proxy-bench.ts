/** The data plane on a real port with a fake gate and a scripted engine behind it. */
import { connect, type Socket } from 'node:net';
import type { Access, Principal } from '../../src/auth/auth.ts';
import type { Upstream } from '../../src/controller/gate.ts';
import { systemClock, systemRandom } from '../../src/platform/clock.ts';
import type { Platform } from '../../src/platform/platform.ts';
import { createProxy, type Proxy, type ProxyOptions } from '../../src/proxy/proxy.ts';
import type { ProxyModel, ProxySettings } from '../../src/proxy/settings.ts';
import type { Logger, RequestRecord, Telemetry } from '../../src/telemetry/telemetry.ts';
import { FakeGate } from './fake-gate.ts';
import { RudeUpstream, type Script } from './rude-upstream.ts';
import { createTestPlatform } from './test-platform.ts';

export const ANYBODY: Principal = { keyId: 'anonymous', roles: new Set(['inference']), mayUse: () => true };

const SILENT: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT,
};

export class RecordingTelemetry implements Telemetry {
  readonly log: Logger = SILENT;
  readonly records: RequestRecord[] = [];
  readonly upstream: { readonly model: string; readonly reused: boolean }[] = [];
  readonly retries: string[] = [];
  readonly violations: string[] = [];
  #watchers: (() => void)[] = [];

  get last(): RequestRecord {
    const record = this.records[this.records.length - 1];
    if (record === undefined) throw new Error('no request ended');
    return record;
  }

  requestEnded(record: RequestRecord): void {
    this.records.push(record);
    for (const watcher of this.#watchers) watcher();
  }

  /** Resolves when this many requests have ended. */
  ended(count: number): Promise<void> {
    if (this.records.length >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#watchers.push(() => {
        if (this.records.length >= count) resolve();
      });
    });
  }

  upstreamRequest(model: string, reused: boolean): void {
    this.upstream.push({ model, reused });
  }

  retried(_model: string, reason: string): void {
    this.retries.push(reason);
  }

  startEnded(): void {}
  evicted(): void {}

  invariantViolated(id: string): void {
    this.violations.push(id);
  }
}

export function proxyModel(name: string, over: Partial<ProxyModel> = {}): ProxyModel {
  return {
    name,
    aliases: [],
    ownedBy: 'vllm-gateway',
    maxModelLen: 512,
    description: null,
    metadata: null,
    unlisted: false,
    requestDefaults: new Map(),
    routes: [],
    keepalive: { after: 0, every: 0 },
    timeouts: { connect: 2_000, firstByte: 0, betweenChunks: 0, total: 0 },
    ...over,
  };
}

export function proxySettings(models: readonly ProxyModel[], over: Partial<ProxySettings> = {}): ProxySettings {
  return {
    models: new Map(models.map((model) => [model.name, model])),
    aliases: new Map(models.flatMap((model) => model.aliases.map((alias) => [alias, model.name] as const))),
    loadedAt: 1_769_000_000_000,
    maxBodySize: 4 * 1024 * 1024,
    maxBufferedBytes: 16 * 1024 * 1024,
    corsOrigins: [],
    retry: { attempts: 3, delay: 5, factor: 1.5, engineDown: true },
    ...over,
  };
}

export interface ProxyBench extends AsyncDisposable {
  readonly proxy: Proxy;
  readonly port: number;
  readonly url: string;
  readonly gate: FakeGate;
  readonly engine: RudeUpstream;
  readonly telemetry: RecordingTelemetry;
  settings: ProxySettings;
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  connect(): Socket;
}

export interface BenchOptions {
  readonly script?: Script;
  readonly settings?: ProxySettings;
  readonly upstream?: Partial<Upstream>;
  readonly access?: Access;
  readonly over?: Partial<ProxyOptions>;
}

export function realPlatform(): Platform {
  return { ...createTestPlatform(), clock: systemClock, random: systemRandom };
}

export async function createProxyBench(options: BenchOptions = {}): Promise<ProxyBench> {
  const engine = new RudeUpstream(options.script ?? (() => undefined));
  await engine.listen();
  const gate = new FakeGate({
    id: 'tiny-1',
    origin: engine.origin,
    pathPrefix: '',
    headers: { authorization: 'Bearer engine-key' },
    servedName: 'tiny',
    connections: 64,
    idleLimit: 4_000,
    external: false,
    ...options.upstream,
  });
  const telemetry = new RecordingTelemetry();
  const bench = {
    settings: options.settings ?? proxySettings([proxyModel('tiny', { aliases: ['tiny-alias'] })]),
  };
  const proxy = createProxy({
    settings: () => bench.settings,
    gate,
    access: options.access ?? { check: () => ({ principal: ANYBODY }) },
    telemetry,
    platform: realPlatform(),
    modelState: () => 'cold',
    ...options.over,
  });
  const { port } = await proxy.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${port}`;
  return Object.assign(bench, {
    proxy,
    port,
    url,
    gate,
    engine,
    telemetry,
    post: (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    connect: () => connect({ port, host: '127.0.0.1' }),
    async [Symbol.asyncDispose]() {
      await proxy.close();
      await engine.close();
    },
  });
}
