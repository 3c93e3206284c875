/**
 * A whole gateway before a model of its own (`near`, a process) and one of others (`far`, a server with a url), which are
 * reached by different code. Between gateway and engine stands a network that a test can break, in place of the engine a
 * server that answers by script. Health and counters are asked past that network, unless told otherwise.
 */
import { connect, type TcpNetConnectOpts } from 'node:net';
import { expect } from 'vitest';
import { systemNetwork } from '../../src/proxy/network.ts';
import { Clients, type Asking } from '../support/clients.ts';
import { eventually } from '../support/eventually.ts';
import { startFake, type FakeEngine } from '../support/fake-vllm.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from '../support/in-process-gateway.ts';
import { errorsIn } from '../support/open-stream.ts';
import { RudeUpstream, type Script } from '../support/rude-upstream.ts';
import { samplesOf } from '../support/prometheus-text.ts';
import { engineStats, simulatedYaml, statusOf } from '../support/simulated-fleet.ts';
import { parseFrame } from '../support/sse-frames.ts';

export type HopName = 'near' | 'far';
export const HOPS: readonly HopName[] = ['near', 'far'];

/** What a client saw of one answer. */
export interface Seen {
  /** 0: the connection ended before an answer began. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** It ended as whole answers do. */
  readonly whole: boolean;
  readonly tookMs: number;
}

/** Of a refusal, or of the error event at the end of a stream. */
export function codeOf({ headers, text }: Pick<Seen, 'headers' | 'text'>): unknown {
  if (headers['content-type']?.startsWith('text/event-stream') === true) {
    return errorsIn(text.trimEnd().split('\n\n').map(parseFrame)).at(-1)?.['code'];
  }
  return (JSON.parse(text) as { readonly error?: { readonly code?: unknown } }).error?.code;
}

export interface Hop {
  readonly name: HopName;
  readonly proxy: FaultProxy;
  readonly rude: RudeUpstream;
  /** The script answers, not the engine. */
  scripted: boolean;
}

export class TwoHops implements AsyncDisposable {
  readonly gateway: TestGateway;
  readonly clients: Clients;
  readonly hops: Readonly<Record<HopName, Hop>>;
  /** Where the gateway has connected to for `near`. */
  readonly dialled: TcpNetConnectOpts[];
  readonly #farEngine: FakeEngine;
  /** A port instead of the network before `near`; null = none. */
  readonly #detour: { port: number | null };

  constructor(parts: {
    readonly gateway: TestGateway;
    readonly hops: Readonly<Record<HopName, Hop>>;
    readonly farEngine: FakeEngine;
    readonly dialled: TcpNetConnectOpts[];
    readonly detour: { port: number | null };
  }) {
    this.gateway = parts.gateway;
    this.clients = new Clients(parts.gateway.url);
    this.hops = parts.hops;
    this.dialled = parts.dialled;
    this.#farEngine = parts.farEngine;
    this.#detour = parts.detour;
  }

  /** Whatever `near` is asked goes to this port from now on. */
  set detour(port: number | null) {
    this.#detour.port = port;
  }

  /** One chat request, to its last byte. Never rejects. */
  async ask(hop: HopName, asking: Asking = {}): Promise<Seen> {
    const began = performance.now();
    let seen = { status: 0, headers: {}, text: '', whole: false };
    try {
      const { status, headers, body } = await this.clients.open(hop, asking);
      seen = { ...seen, status, headers };
      for await (const piece of body) seen.text += String(piece);
      seen.whole = true;
    } catch {
      // It broke off: that is what there is to see.
    }
    return { ...seen, tookMs: performance.now() - began };
  }

  /** Inference requests that the engine was sent. */
  async served(hop: HopName): Promise<number> {
    const stats = hop === 'near' ? await engineStats(this.gateway, hop) : await this.#farEngine.stats();
    return stats['inference_requests' as keyof typeof stats];
  }

  /** The sum of all samples of a metric with these labels, as they are now. */
  async figures(): Promise<(name: string, labels?: Readonly<Record<string, string>>) => number> {
    const samples = samplesOf(await (await fetch(`${this.gateway.url}/metrics`)).text());
    return (name, labels = {}) =>
      samples
        .filter((sample) => sample.name === `vllm_gateway_${name}`)
        .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
        .reduce((sum, { value }) => sum + value, 0);
  }

  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return (await this.figures())(name, labels);
  }

  /** The next request goes out on a new connection. */
  async fresh(hop: HopName): Promise<void> {
    this.hops[hop].proxy.endAll('fin');
    await eventually(`no connection to ${hop} is left`, async () => {
      return (await this.metric('upstream_connections', { model: hop, state: 'idle' })) === 0;
    });
  }

  /** From the next request on this script answers. */
  async script(hop: HopName, script: Script): Promise<RudeUpstream> {
    const { proxy, rude } = this.hops[hop];
    await this.fresh(hop);
    this.hops[hop].scripted = true;
    rude.script = script;
    rude.requests.length = 0;
    proxy.target = Number(new URL(rude.origin).port);
    return rude;
  }

  /** Enough of them that a few retries are within what the gateway allows itself. */
  async manyGoodRequests(hop: HopName): Promise<void> {
    const answers = await this.clients.chats(40, hop);
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  }

  async replicaOf(hop: HopName): Promise<string> {
    const { replicas } = await statusOf(this.gateway);
    return Object.entries(replicas).find(([, { model }]) => model === hop)?.[0] ?? '';
  }

  /** The fault is over: nothing is held, at the gateway or at an engine, and both models answer at the first attempt. */
  async recovered(): Promise<void> {
    this.detour = null;
    for (const hop of Object.values(this.hops)) {
      await hop.proxy.restore();
      hop.scripted = false;
      hop.rude.onConnection = () => undefined;
      if (hop.name === 'far') hop.proxy.target = this.#farEngine.port;
      await this.fresh(hop.name);
    }
    const answers = await Promise.all(HOPS.map((hop) => this.ask(hop)));
    expect(answers.map(({ status, headers }) => [status, headers['x-vgw-attempts']])).toEqual(
      HOPS.map(() => [200, '1']),
    );
    await eventually('nothing is held', async () => {
      const figures = await this.figures();
      const gauges = ['queue_depth', 'in_flight', 'buffered_bytes', 'invariant_violations_total'];
      const near = await engineStats(this.gateway, 'near');
      const far = await this.#farEngine.stats();
      const held = [
        ...gauges.map((name) => figures(name)),
        figures('upstream_connections', { state: 'busy' }),
        ...[near.running, near.waiting, far['running'], far['waiting']],
      ];
      return held.every((count) => count === 0);
    });
    expect(this.gateway.lines.filter((line) => line.includes('failed in the gateway'))).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clients[Symbol.asyncDispose]();
    await this.gateway[Symbol.asyncDispose]();
    for (const { proxy, rude } of Object.values(this.hops)) {
      await proxy[Symbol.asyncDispose]();
      await rude.close();
    }
    await this.#farEngine[Symbol.asyncDispose]();
  }
}

export interface TwoHopsOptions extends Omit<TestGatewayOptions, 'yaml' | 'network'> {
  /** Top-level YAML. */
  readonly more: string;
  /** Further keys of both models, one line each. */
  readonly keys?: readonly string[];
  /** `FAKE_VLLM_FAULT` of both engines. */
  readonly fault?: string;
  /** Health and counters of `near` are asked through the network too. */
  readonly wholeNetwork?: boolean;
  /** Called for each look at the health of `near`. */
  readonly looked?: (answered: boolean) => void;
}

export async function startTwoHops(asked: TwoHopsOptions): Promise<TwoHops> {
  const { more, keys = [], fault = '', wholeNetwork = false, looked = () => undefined, ...options } = asked;
  const knobs = { CONTROL: 1, TTFT_MS: 5, TOKEN_MS: 2, TOKENS: 4, FAULT: fault };
  const farEngine = await startFake({
    repo: 'org/far',
    env: Object.fromEntries(Object.entries(knobs).map(([knob, value]) => [`FAKE_VLLM_${knob}`, String(value)])),
  });
  const hops = { near: await startHop('near', 0), far: await startHop('far', farEngine.port) };
  const dialled: TcpNetConnectOpts[] = [];
  const detour: { port: number | null } = { port: null };
  const far = [`url: "http://127.0.0.1:${hops.far.proxy.port}"`, 'repo: org/far', ...keys];
  const gateway = await startTestGateway({
    ...options,
    yaml: `${simulatedYaml([{ name: 'near', keys, knobs }], more)}\n  far:\n${far.map((line) => `    ${line}`).join('\n')}`,
    platform: (real) => ({
      ...real,
      http: {
        ...real.http,
        get: async (url, how) => {
          const to = new URL(url);
          const isFar = Number(to.port) === hops.far.proxy.port;
          if (isFar) to.port = String(farEngine.port);
          else if (wholeNetwork) {
            hops.near.proxy.target = Number(to.port);
            to.port = String(hops.near.proxy.port);
          }
          let answered = false;
          try {
            const answer = await real.http.get(to.href, how);
            answered = true;
            return answer;
          } finally {
            if (!isFar && to.pathname === '/health') looked(answered);
          }
        },
      },
    }),
    network: {
      ...systemNetwork,
      connect: (to) => {
        dialled.push(to);
        const { proxy } = hops.near;
        if (!hops.near.scripted) proxy.target = to.port;
        return connect({ ...to, port: detour.port ?? proxy.port });
      },
    },
  });
  const both = new TwoHops({ gateway, hops, farEngine, dialled, detour });
  await both.recovered();
  return both;
}

async function startHop(name: HopName, target: number): Promise<Hop> {
  const rude = new RudeUpstream(() => undefined);
  await rude.listen();
  return { name, proxy: await FaultProxy.listen(target), rude, scripted: false };
}
