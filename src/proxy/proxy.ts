/** The data plane: from a client's request over a lease to an engine's answer. */
import { isLoopbackHost } from '../auth/addresses.ts';
import type { UpstreamPools } from '../controller/gate.ts';
import type { ProxyStats } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import { BodyBudget } from './body-budget.ts';
import { connectionLimit, controlLimit } from './connection-limit.ts';
import { Front } from './front.ts';
import { Listener } from './listener.ts';
import { systemNetwork } from './network.ts';
import { ResponseWriters } from './response-writers.ts';
import { BODY_TURN } from './limits.ts';
import { Ticker } from './ticker.ts';
import { TurnAllowance } from './turn-allowance.ts';
import { Upstreams } from './upstreams.ts';
import type { ControlPaths, ProxyOptions, World } from './world.ts';

export type { ControlPaths, ProxyOptions } from './world.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface DataPlaneStats extends ProxyStats {
  /** Sockets to engines, opened since the start. */
  readonly opened: number;
  /** Exchanges and listeners that have deadlines now: 0 when nothing is connected. */
  readonly ticking: number;
}

export interface Proxy {
  /** Rejects when the port cannot be bound. */
  listen(address: Address): Promise<{ readonly port: number }>;
  /** A listener for the control plane alone, with the same limits, but for fewer connections. */
  listenControl(address: Address, control: ControlPaths): Promise<{ readonly port: number }>;
  /** From now on every new request is told `shutting_down`, and no connection is kept alive. Still listens: to say so. */
  refuseNew(): void;
  /**
   * No new connections, none kept alive; resolves when the last is closed, at the latest after `limit`, when those left
   * are cut.
   */
  drain(limit: Milliseconds): Promise<void>;
  /** Everything at once. */
  close(): Promise<void>;
  readonly pools: UpstreamPools;
  stats(): DataPlaneStats;
}

export function createProxy(options: ProxyOptions): Proxy {
  return new DataPlane(options);
}

class DataPlane implements Proxy {
  private readonly world: World;
  private readonly listeners: Listener[] = [];

  constructor(options: ProxyOptions) {
    const { clock, random } = options.platform;
    const network = options.network ?? systemNetwork;
    const prefix = `req-${random.hex(10)}`;
    let count = 0;
    this.world = {
      ...options,
      network,
      ticker: new Ticker(clock),
      budget: new BodyBudget(() => options.settings().maxBufferedBytes),
      turns: new TurnAllowance(clock, BODY_TURN),
      upstreams: new Upstreams(clock, network),
      writers: new ResponseWriters(options.platform, options.telemetry.log),
      nextId: () => `${prefix}-${(++count).toString(36)}`,
      draining: false,
    };
  }

  get pools(): UpstreamPools {
    return this.world.upstreams;
  }

  listen(address: Address): Promise<{ readonly port: number }> {
    return this.open(address, this.world.control, (clients) => clients);
  }

  listenControl(address: Address, control: ControlPaths): Promise<{ readonly port: number }> {
    return this.open(address, control, controlLimit);
  }

  private async open(
    address: Address,
    control: ControlPaths | undefined,
    limit: (clients: number) => number,
  ): Promise<{ readonly port: number }> {
    await this.world.writers.check();
    const front = new Front(this.world, isLoopbackHost(address.host), control);
    const listener = new Listener(this.world, front, limit(await connectionLimit(this.world.platform.files)));
    this.listeners.push(listener);
    return listener.listen(address);
  }

  refuseNew(): void {
    this.world.draining = true;
    for (const listener of this.listeners) listener.closeIdle();
  }

  async drain(limit: Milliseconds): Promise<void> {
    this.world.draining = true;
    const late = this.world.platform.clock.after(limit, () => {
      for (const listener of this.listeners) listener.closeAll();
    });
    await Promise.all(this.listeners.map((listener) => listener.stopAccepting()));
    late[Symbol.dispose]();
  }

  async close(): Promise<void> {
    this.world.draining = true;
    const closed = this.listeners.map((listener) => listener.stopAccepting());
    for (const listener of this.listeners) listener.closeAll();
    this.world.upstreams.destroyAll();
    await Promise.all(closed);
    this.world.ticker.stop();
  }

  stats(): DataPlaneStats {
    const { budget, upstreams, ticker } = this.world;
    return {
      bufferedBytes: budget.used,
      connections: upstreams.counts(),
      opened: upstreams.opened,
      ticking: ticker.size,
    };
  }
}
