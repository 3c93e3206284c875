/**
 * The only reader of the probe: finds the devices, looks at their memory again and again, tells the core what others hold,
 * and says so when nothing can be read. Who needs a look of a certain moment asks for one here.
 */
import type { FleetEvent } from '../core/events.ts';
import type { FleetSettings } from '../core/settings.ts';
import type { FleetState, Replica } from '../core/state.ts';
import type { Platform } from '../platform/platform.ts';
import type { DeviceReading, Probe, ProbeReading } from '../probes/probe.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { MINUTE, SECOND, type Milliseconds } from '../units.ts';
import { Attributor, type Attribution, type Owner } from './attribution.ts';

/** While memory moves: an engine takes tens of seconds to load, and its peak must not be missed. */
const EVERY_MOVING: Milliseconds = 2 * SECOND;
/** At rest: soon enough to see somebody else come, seldom enough to cost nothing. */
const EVERY_RESTING: Milliseconds = 10 * SECOND;
/** A look that failed is repeated sooner: what was missed may have been a slow moment. */
const EVERY_FAILED: Milliseconds = 2 * SECOND;
/** A machine without GPUs may get one some day: a driver that is loaded late. */
const EVERY_WITHOUT: Milliseconds = MINUTE;
/** So many looks in a row, or so long without any: then nothing is known any more. */
const MISSES_ALLOWED = 3;
const AGE_ALLOWED: Milliseconds = 30 * SECOND;
/** At the start of the gateway: looks, and time in all, before it goes on without. */
const BOOT_LOOKS = 3;
const BOOT_PAUSE: Milliseconds = SECOND;
const BOOT_LIMIT: Milliseconds = 10 * SECOND;

/** The configuration names devices that the machine has not got. */
export class UnknownDevices extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UnknownDevices';
  }
}

/** There are GPUs, and of none is it known how large it is: no books can be kept on them. Null = of some it is, or there is none. */
export function withoutSizes({ devices }: ProbeReading): string | null {
  const [first] = devices;
  if (first === undefined || devices.some(({ totalBytes }) => totalBytes > 0)) return null;
  return `${first.id}: ${first.trouble ?? 'its memory cannot be read'}`;
}

/** One look at all devices. */
export interface Look extends Attribution {
  readonly reading: ProbeReading;
  readonly at: Milliseconds;
}

export interface DeviceMonitorOptions {
  readonly probe: Probe;
  readonly platform: Pick<Platform, 'clock'>;
  readonly log: Logger;
  readonly state: FleetState;
  readonly post: (event: FleetEvent) => void;
  readonly pidsOf: (replica: Replica) => Promise<readonly number[]>;
  /** What the core decides on with these devices; null = they cannot be read. */
  readonly settings: (reading: ProbeReading | null, version: number) => FleetSettings;
  /** The configuration names GPUs: then there are some, whatever a reading says. */
  readonly named: boolean;
  /** Complains about devices that the configuration names and the machine has not got; at boot it throws UnknownDevices. */
  readonly checkNames: (reading: ProbeReading, booting: boolean) => void;
  /** What the controller's first settings were made of; null = nothing was read yet. */
  readonly known: ProbeReading | null;
  /** Told of every look, after the core. */
  readonly looked: (look: Look) => void;
  /** The devices became known while replicas ran on what stood for them. */
  readonly recovered: (look: Look) => void;
}

export class DeviceMonitor {
  /** Replicas that are being measured; kept by who measures. */
  readonly settling = new Set<string>();
  readonly #options: DeviceMonitorOptions;
  readonly #attributor = new Attributor();
  readonly #known = new Map<string, DeviceReading>();
  #driverVersion: string | null = null;
  #named: boolean;
  /** The devices of the core are what was read. */
  #found: boolean;
  /** Why there is no reading now. */
  #trouble: string | null = null;
  #misses = 0;
  /** The core was told that nothing is known. */
  #blind = false;
  #readAt: Milliseconds;
  #last: Look | null = null;
  #reading: ProbeReading | null = null;
  readonly #processes = new Map<string, { readonly last: readonly number[]; readonly pids: ReadonlySet<number> }>();
  #watching = false;
  #timer: { readonly at: Milliseconds; readonly handle: Disposable } | null = null;
  #looking: Promise<Look> | null = null;
  #next: Promise<Look> | null = null;
  readonly #closing = new AbortController();

  constructor(options: DeviceMonitorOptions) {
    this.#options = options;
    this.#named = options.named;
    this.#found = options.known !== null;
    this.#readAt = options.platform.clock.monotonic();
    if (options.known) this.#remember(options.known);
  }

  /** False when there is nothing to see, or every reading would be the same: nobody need wait for memory to be seen. */
  get observes(): boolean {
    return this.#options.probe.observes && this.#known.size > 0;
  }

  get last(): Look | null {
    return this.#last;
  }

  /** As last read, before anything is made of it; null = nothing was read yet. */
  get reading(): ProbeReading | null {
    return this.#reading;
  }

  /** Processes of a replica, as last seen; kept until the core has forgotten it. */
  pidsOf(replicaId: string): ReadonlySet<number> {
    return this.#processes.get(replicaId)?.pids ?? new Set();
  }

  /** Why the devices are not known, or not read any more; null = they are. */
  get trouble(): string | null {
    if (!this.#found) return `the GPUs cannot be read (${this.#trouble ?? 'not yet'}): one model runs at a time`;
    return this.#blind ? `the GPUs cannot be read (${this.#trouble ?? 'no answer'}): nothing is started` : null;
  }

  /**
   * The configuration was replaced. `named`, and `listed` for `known`, as at the start; returns what the core is to decide
   * on, with the devices as they are known now.
   */
  renew(named: boolean, listed: ProbeReading | null): FleetSettings {
    const { settings, state } = this.#options;
    this.#named = named;
    if (listed !== null) {
      this.#known.clear();
      this.#found = true;
      this.#remember(listed);
    }
    return settings(this.#found ? this.#all() : null, state.settings.version + 1);
  }

  /** At boot: waits, within a bound, until the devices are known. Rejects with UnknownDevices. */
  async settle(): Promise<void> {
    const { probe, platform, log, checkNames } = this.#options;
    if (this.#found) return;
    const until = platform.clock.monotonic() + BOOT_LIMIT;
    for (let tried = 1; ; tried += 1) {
      const reading = await this.#read().catch((error: unknown) => {
        this.#trouble = reasonOf(error);
      });
      if (reading) {
        checkNames(reading, true);
        return this.#discover(reading);
      }
      if (tried === BOOT_LOOKS || platform.clock.monotonic() >= until) break;
      await platform.clock.sleep(BOOT_PAUSE, this.#closing.signal);
    }
    log.warn(
      { probe: probe.kind, reason: this.#trouble },
      'the GPUs cannot be read: until they can, one model runs at a time',
    );
  }

  /** Begins to watch. Resolves after the first look, whatever came of it. */
  async watch(): Promise<void> {
    if (!this.#options.probe.observes) return;
    this.#watching = true;
    if (this.#found && this.#known.size === 0) return this.#arm(EVERY_WITHOUT);
    await this.look().catch(() => undefined);
  }

  /** Something begins to move: the next look is not far. */
  hurry(): void {
    if (!this.#watching || this.#looking !== null) return;
    const soon = this.#options.platform.clock.monotonic() + EVERY_MOVING;
    if (this.#timer !== null && this.#timer.at > soon) this.#arm(EVERY_MOVING);
  }

  /** A look that begins now, or after the one that is under way. Rejects when the devices cannot be read. */
  look(): Promise<Look> {
    if (this.#next !== null) return this.#next;
    if (this.#looking === null) return this.#begin();
    const again = (): Promise<Look> => this.#begin();
    this.#next = this.#looking.then(again, again);
    return this.#next;
  }

  close(): void {
    this.#closing.abort(new Error('the gateway ends'));
    this.#watching = false;
    this.#timer?.handle[Symbol.dispose]();
    this.#timer = null;
  }

  #begin(): Promise<Look> {
    this.#next = null;
    this.#timer?.handle[Symbol.dispose]();
    this.#timer = null;
    const looking = this.#look().finally(() => {
      this.#looking = null;
      if (this.#watching && this.#next === null) this.#arm(this.#pause());
    });
    this.#looking = looking;
    return looking;
  }

  async #read(): Promise<ProbeReading> {
    const { probe } = this.#options;
    const reading = await probe.read();
    if (this.#named && reading.devices.length === 0) throw new Error(probe.detail ?? 'no GPU is to be seen');
    const sizeless = this.#found ? null : withoutSizes(reading);
    if (sizeless !== null) throw new Error(sizeless);
    return reading;
  }

  async #look(): Promise<Look> {
    const { platform, looked } = this.#options;
    let reading: ProbeReading;
    try {
      this.#closing.signal.throwIfAborted();
      reading = await this.#read();
      if (reading.processes !== null && reading.processes.length > 0) await this.#findProcesses();
      this.#closing.signal.throwIfAborted();
    } catch (error) {
      this.#missed(error);
      throw error;
    }
    this.#misses = 0;
    this.#blind = false;
    this.#readAt = platform.clock.monotonic();
    this.#trouble = null;
    let look = this.#attribute(reading);
    if (this.#grow(look)) look = this.#attribute(reading);
    this.#last = look;
    this.#tell(look);
    looked(look);
    return look;
  }

  #attribute(reading: ProbeReading): Look {
    return { reading, at: this.#readAt, ...this.#attributor.attribute(reading, this.#owners()) };
  }

  #tell(look: Look): void {
    const { post, state } = this.#options;
    for (const { id, unmeasured } of state.devices.values()) {
      if (unmeasured) continue;
      const share = look.devices.get(id);
      if (share) {
        const { usedBytes, totalBytes, foreignBytes } = share;
        post({ kind: 'device.observed', id, usedBytes, totalBytes, foreignBytes });
      } else {
        const reading = look.reading.devices.find((device) => device.id === id);
        const reason = reading
          ? (reading.trouble ?? 'its memory cannot be read')
          : 'it is not among the devices any more';
        post({ kind: 'device.silent', id, reason });
      }
    }
  }

  #missed(error: unknown): void {
    const { post, state, platform, log, probe } = this.#options;
    if (this.#closing.signal.aborted) return;
    this.#misses += 1;
    this.#trouble = reasonOf(error);
    const age = platform.clock.monotonic() - this.#readAt;
    if (!this.#found || (this.#misses < MISSES_ALLOWED && age < AGE_ALLOWED)) return;
    if (!this.#blind) {
      log.warn(
        { probe: probe.kind, reason: this.#trouble },
        'the GPUs cannot be read any more: nothing is started until they can',
      );
    }
    this.#blind = true;
    const reason = `no reading for ${Math.round(age / SECOND)} s: ${this.#trouble}`;
    for (const { id, unmeasured, silent } of state.devices.values()) {
      if (!unmeasured && silent === null) post({ kind: 'device.silent', id, reason });
    }
  }

  /** Devices that are new, or not what they were, are entered in the books. None is ever struck out: it may come back. */
  #grow(look: Look): boolean {
    const { reading } = look;
    if (!this.#found) return this.#recover(look);
    const differs = reading.devices.some(({ id, totalBytes, name }) => {
      const known = this.#known.get(id);
      return totalBytes > 0 && (known === undefined || known.totalBytes !== totalBytes || known.name !== name);
    });
    const updated = reading.driverVersion !== null && reading.driverVersion !== this.#driverVersion;
    if (differs || updated) this.#discover(reading);
    return differs;
  }

  #recover(look: Look): boolean {
    const { state, log, checkNames, recovered } = this.#options;
    // What moves on memory that nobody could read is waited for: only then it is known what holds which bytes.
    for (const { phase, reservations } of state.replicas.values()) {
      const unread = [...reservations.keys()].some((id) => state.devices.get(id)?.unmeasured === true);
      if (unread && (phase === 'starting' || phase === 'stopping')) return false;
    }
    log.info({ devices: look.reading.devices.length }, 'the GPUs can be read now');
    checkNames(look.reading, false);
    this.#discover(look.reading);
    recovered(look);
    return true;
  }

  #discover(reading: ProbeReading): void {
    const { post, settings, state, log, probe } = this.#options;
    if (!this.#found)
      log.info({ probe: probe.kind, devices: reading.devices.length }, probe.detail ?? `reads GPUs with ${probe.kind}`);
    this.#found = true;
    this.#remember(reading);
    post({ kind: 'settings.replaced', settings: settings(this.#all(), state.settings.version + 1) });
  }

  #all(): ProbeReading {
    return { devices: [...this.#known.values()], processes: null, driverVersion: this.#driverVersion };
  }

  #remember(reading: ProbeReading): void {
    this.#reading = reading;
    for (const device of reading.devices) if (device.totalBytes > 0) this.#known.set(device.id, device);
    this.#driverVersion = reading.driverVersion ?? this.#driverVersion;
  }

  #launched(): Replica[] {
    return [...this.#options.state.replicas.values()].filter(
      ({ phase, driver }) => phase !== 'reserved' && driver !== 'external',
    );
  }

  /** One that has ended meanwhile stays its replica's for one look: what it held may be seen that much longer. */
  async #findProcesses(): Promise<void> {
    const launched = this.#launched();
    const found = await Promise.all(launched.map((replica) => this.#options.pidsOf(replica).catch(() => [])));
    launched.forEach(({ id }, index) => {
      const now = found[index] ?? [];
      const { last = [] } = this.#processes.get(id) ?? {};
      // Of a replica that is gone the last that was known is kept: by these its memory is known to be back.
      if (now.length > 0) this.#processes.set(id, { last: now, pids: new Set([...last, ...now]) });
    });
    for (const id of this.#processes.keys()) if (!this.#options.state.replicas.has(id)) this.#processes.delete(id);
  }

  #owners(): readonly Owner[] {
    return this.#launched().map(({ id, phase, reservations, peaks }) => ({
      id,
      phase,
      reservations,
      peaks,
      pids: [...this.pidsOf(id)],
      settling: this.settling.has(id),
    }));
  }

  #pause(): Milliseconds {
    if (this.#misses > 0 || !this.#found) return EVERY_FAILED;
    if (this.#known.size === 0) return EVERY_WITHOUT;
    for (const { phase } of this.#options.state.replicas.values()) {
      if (phase !== 'ready' && phase !== 'reserved') return EVERY_MOVING;
    }
    return EVERY_RESTING;
  }

  #arm(delay: Milliseconds): void {
    const { clock } = this.#options.platform;
    this.#timer?.handle[Symbol.dispose]();
    const handle = clock.after(delay, () => {
      this.#timer = null;
      // What went wrong is told by the look itself.
      this.look().catch(() => undefined);
    });
    this.#timer = { at: clock.monotonic() + delay, handle };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
