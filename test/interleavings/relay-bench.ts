/** The data plane on lines in memory, with a gate and an engine that do what a test says, one step of the world at a time. */
import type { Upstream } from '../../src/controller/gate.ts';
import { gatewayError } from '../../src/errors.ts';
import { createProxy, type Proxy } from '../../src/proxy/proxy.ts';
import type { ProxyModel } from '../../src/proxy/settings.ts';
import { HOUR, MINUTE, type Milliseconds } from '../../src/units.ts';
import { Random } from '../simulation/random.ts';
import { Loopback } from '../simulation/shell/network.ts';
import { ProcessClock, settled, Time } from '../simulation/shell/time.ts';
import type { FarEnd, Party } from '../simulation/shell/wire.ts';
import { FakeGate } from '../support/fake-gate.ts';
import { ANYBODY, proxyModel, proxySettings, RecordingTelemetry } from '../support/proxy-bench.ts';
import { createTestPlatform } from '../support/test-platform.ts';

const PORT = 20_000;
/** Longer than everything that the data plane waits for by itself. */
const EVER: Milliseconds = 3 * HOUR;

/** One connection, as the party at its far end sees it. */
export class End implements Party {
  text = '';
  gone: 'end' | 'reset' | null = null;
  /** Does not end its half when the other side has ended. */
  stays = false;
  readonly far: FarEnd;
  readonly #heard: (end: End) => void;

  constructor(far: FarEnd, heard: (end: End) => void = () => undefined) {
    this.far = far;
    this.#heard = heard;
    far.party = this;
  }

  received(bytes: Buffer): void {
    this.text += bytes.toString('latin1');
    this.#heard(this);
  }

  ended(how: 'end' | 'reset'): void {
    this.gone = how;
    if (!this.stays) this.far.end();
  }
}

export interface RelayOptions {
  readonly model?: Partial<ProxyModel>;
  readonly upstream?: Partial<Upstream>;
  /** What may be under way to a client or an engine that does not read. */
  readonly windowBytes?: number;
  readonly engineDown?: boolean;
  /** What is sent arrives in pieces of at most so much; 0 = as it was sent. */
  readonly pieceBytes?: number;
}

export class RelayBench {
  readonly time = new Time(new Random(1, 'order'));
  readonly clock = new ProcessClock(this.time);
  readonly telemetry = new RecordingTelemetry();
  readonly gate: FakeGate;
  readonly proxy: Proxy;
  readonly clients: End[] = [];
  /** The engine's connections, oldest first. */
  readonly engine: End[] = [];
  /** Does the engine take connections? */
  listening = true;
  /** What asks for a connection is lost on its way: nobody says yes or no. */
  swallows = false;
  /** The engine has read a whole request on this connection. */
  onRequest: (end: End) => void = () => undefined;
  readonly #life = { alive: true };
  readonly #loopback: Loopback;
  #ended = false;
  /** The gate grants more than there are connections: that is told, as it should be. */
  readonly #overbooked: boolean;

  constructor(options: RelayOptions = {}) {
    this.#overbooked = options.upstream?.connections === 0;
    this.#loopback = new Loopback({
      time: this.time,
      life: this.#life,
      random: new Random(1, 'net'),
      rules: () => ({ latencyMs: 0, pieceBytes: options.pieceBytes ?? 0, windowBytes: options.windowBytes ?? 65_536 }),
      engines: {
        fate: () => {
          if (this.swallows) return 'swallowed';
          return this.listening ? { listening: true, accept: (far) => this.#accept(far) } : 'refused';
        },
      },
    });
    this.gate = new FakeGate({
      id: 'tiny-1',
      origin: `http://127.0.0.1:${PORT}`,
      pathPrefix: '',
      headers: {},
      servedName: 'tiny',
      connections: 4,
      idleLimit: 4_000,
      external: false,
      ...options.upstream,
    });
    const timeouts = { connect: 2_000, firstByte: 5_000, betweenChunks: 5_000, total: 0 };
    const settings = proxySettings([proxyModel('tiny', { timeouts, ...options.model })], {
      retry: { attempts: 2, delay: 50, factor: 1, engineDown: options.engineDown ?? true },
    });
    this.proxy = createProxy({
      settings: () => settings,
      gate: this.gate,
      access: { check: () => ({ principal: ANYBODY }) },
      telemetry: this.telemetry,
      platform: { ...createTestPlatform(), clock: this.clock },
      modelState: () => 'ready',
      network: this.#loopback,
      control: {
        owns: (path) => path === '/control',
        handle: (_request, response) => void this.clock.after(5, () => response.end('control')),
      },
    });
  }

  async open(): Promise<void> {
    const listening = this.proxy.listen({ host: '127.0.0.1', port: 9_000 });
    await this.rest();
    await listening;
  }

  client(): End {
    const far = this.#loopback.accept();
    if (far === undefined) throw new Error('the data plane does not listen');
    const client = new End(far);
    this.clients.push(client);
    return client;
  }

  /** After a moment of the world's time. */
  after(delay: Milliseconds, act: () => void): void {
    this.time.after(delay, () => {
      if (!this.#ended) act();
    });
  }

  /** What was due happens, and nothing that takes time. */
  async rest(): Promise<void> {
    await settled();
    for (let at = this.time.nextAt(); at !== undefined && at <= this.time.now; at = this.time.nextAt()) {
      await this.time.next();
    }
  }

  async advance(span: Milliseconds): Promise<void> {
    const end = this.time.now + span;
    await settled();
    for (let at = this.time.nextAt(); at !== undefined && at <= end; at = this.time.nextAt()) await this.time.next();
    this.time.now = end;
  }

  /** From now on nobody does anything by plan any more: neither engine nor clients. */
  stopScripts(): void {
    this.#ended = true;
    this.onRequest = () => undefined;
  }

  /** As the core does when a slot is free: whoever waits longest, if anybody does. */
  grantNext(): void {
    if (this.gate.waiting.some(({ over }) => !over)) this.gate.grantNext();
  }

  /** The core's queue deadline, for all who wait. */
  refuseWaiting(code: 'queue_timeout' | 'shutting_down'): void {
    while (this.gate.waiting.some(({ over }) => !over)) this.gate.refuseNext(gatewayError(code, 'told by the test'));
  }

  /** What requests hold now: nothing, a moment after the last of them was ended. */
  heldByRequests(): readonly string[] {
    const { proxy, gate } = this;
    const { bufferedBytes, connections } = proxy.stats();
    return told({
      'bytes of bodies': bufferedBytes,
      'busy connections': connections.reduce((sum, { busy }) => sum + busy, 0),
      leases: gate.openLeases,
      tickets: gate.waiting.filter(({ over }) => !over).length,
    });
  }

  /** What is held when all clients are gone and all time has passed; empty = nothing. */
  async held(): Promise<readonly string[]> {
    this.stopScripts();
    for (const { far } of this.clients) {
      far.resumeReading();
      far.end();
    }
    await this.advance(MINUTE);
    // Only the core ends what waits or hangs without a limit of its own.
    this.refuseWaiting('queue_timeout');
    await this.advance(EVER);
    const { proxy, gate, telemetry } = this;
    const { bufferedBytes, connections, ticking } = proxy.stats();
    const waiting = gate.waiting.filter(({ over }) => !over).length;
    const found = told({
      'bytes of bodies': bufferedBytes,
      'upstream connections': connections.length,
      'things that tick': ticking,
      sockets: this.#loopback.open,
      leases: gate.openLeases,
      tickets: waiting,
      timers: this.clock.armed,
      'broken invariants': this.#overbooked ? 0 : telemetry.violations.length,
      'answers of one request': this.#doubled(),
    });
    await this.#close();
    return found;
  }

  #doubled(): number {
    const ids = this.telemetry.records.map(({ id }) => id);
    return ids.length - new Set(ids).size;
  }

  async #close(): Promise<void> {
    const closed = this.proxy.close();
    await this.rest();
    await closed;
    this.#life.alive = false;
  }

  #accept(far: FarEnd): void {
    this.engine.push(
      new End(far, (end) => {
        if (isWhole(end.text)) this.onRequest(end);
      }),
    );
  }
}

function told(counts: Readonly<Record<string, number>>): readonly string[] {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`);
}

/** The last request on a connection has come whole. */
function isWhole(text: string): boolean {
  const at = text.lastIndexOf('POST ');
  const end = text.indexOf('\r\n\r\n', at);
  if (at === -1 || end === -1) return false;
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(at, end))?.[1] ?? 0);
  return text.length >= end + 4 + length;
}

export function post(body: string, ...fields: readonly string[]): string {
  const head = ['POST /v1/chat/completions HTTP/1.1', 'host: localhost', 'content-type: application/json', ...fields];
  return `${head.join('\r\n')}\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

export const STREAM = '{"model":"tiny","stream":true,"messages":[]}';
export const PLAIN = '{"model":"tiny","messages":[]}';

export function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

export const STREAM_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
export const EVENT = 'data: {"choices":[]}\n\n';
export const DONE = 'data: [DONE]\n\n';

export function whole(status: number, body: string): string {
  return `HTTP/1.1 ${status} OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}
