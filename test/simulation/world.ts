/** One simulated machine with its gateway: kernel, engines, clients, history, and what operators do to it. */
import type { Footprint } from '../../src/core/memory/footprint.ts';
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetSettings, ModelSettings } from '../../src/core/settings.ts';
import { Clients } from './clients.ts';
import { Engines } from './engines.ts';
import { Files } from './files.ts';
import { History } from './history.ts';
import { Kernel, type KernelOptions } from './kernel.ts';
import { Launches } from './launches.ts';
import { Lifecycles } from './lifecycles.ts';
import { Marks } from './marks.ts';
import { Monitor } from './monitor.ts';
import { Obligations } from './obligations.ts';
import { Policy } from './policy.ts';
import { strike } from './troubles.ts';
import { settingsOf, UNREAD, unreadSettings, type Intent, type ReloadChange, type Scenario } from './scenario.ts';
import { Verdicts } from './verdicts.ts';

export interface Restart {
  readonly adoptable: boolean;
  readonly looksMs?: number;
  /** Of a hundred engines, how many nobody finds. */
  readonly lost?: number;
  /** What was written down cannot be read. */
  readonly torn?: boolean;
}

export class World {
  readonly kernel: Kernel;
  readonly engines: Engines;
  readonly files: Files;
  readonly monitor: Monitor;
  readonly clients: Clients;
  readonly history: History;
  readonly #marks: Marks;
  readonly scenario: Scenario;
  /** As they are once the devices can be read. */
  settings: FleetSettings;
  #unread: boolean;
  shutdownDone = false;
  /** What is written now is lost. */
  diskFull = false;
  /** Written down by the shell, so that they outlive it. */
  #pinned: readonly string[] = [];

  /** Kept from one life of the gateway to the next. */
  readonly #learned = new Map<string, Footprint>();

  constructor(scenario: Scenario, options: Partial<KernelOptions> = {}) {
    this.scenario = scenario;
    this.settings = settingsOf(scenario);
    const { seed, timerLagMs } = scenario;
    this.#unread = scenario.unreadUntil !== null;
    this.kernel = new Kernel({ seed, settings: this.#inForce(), timerLagMs, ...options });
    this.engines = new Engines(this.kernel, scenario);
    this.files = new Files(this.kernel, scenario);
    this.monitor = new Monitor(this.kernel, this.engines.memory, scenario);
    this.clients = new Clients(this.kernel, this.engines, scenario);
    this.history = new History(this.kernel);
    const { kernel } = this;
    kernel.observers.push(
      this.history,
      new Lifecycles(kernel),
      new Policy(kernel, this.history.books),
      new Launches(kernel),
      this.engines.memory,
    );
    this.#marks = new Marks(kernel, (name) => this.history.mark(name));
    kernel.observers.push(new Obligations(kernel), new Verdicts(kernel), this.#marks);
    this.engines.swept = () => this.monitor.lookAtAll();
    this.kernel.perform = (effect) => this.#perform(effect);
    this.kernel.after(0, () => this.monitor.begin());
    if (scenario.unreadUntil !== null) this.kernel.after(scenario.unreadUntil, () => this.#devicesAreSeen());
  }

  #inForce(): FleetSettings {
    return this.#unread ? unreadSettings(this.settings) : this.settings;
  }

  /** From now on they can be read: the settings name them, and whoever ran without is seen where it stands. */
  #devicesAreSeen(): void {
    if (!this.#unread || this.kernel.state.shutdown) return;
    this.#unread = false;
    this.settings = { ...this.settings, version: this.settings.version + 1 };
    this.history.mark('devices_seen');
    this.kernel.step({ kind: 'settings.replaced', settings: this.settings });
    for (const engine of this.engines.living()) if (engine.reservations.has(UNREAD)) this.engines.measure(engine);
    this.monitor.lookAtAll();
  }

  /** Everything the schedule asks for, each at its time. */
  schedule(intents: readonly Intent[]): void {
    for (const intent of intents) this.kernel.after(intent.at - this.kernel.now, () => this.act(intent));
  }

  act(intent: Intent): void {
    if (this.kernel.state.shutdown) return;
    switch (intent.kind) {
      case 'request':
        for (let count = 0; count < intent.count; count += 1) this.clients.ask(intent);
        return;
      case 'closed_loop':
        return this.clients.closedLoop(intent);
      case 'open_loop':
        return this.clients.openLoop(intent);
      case 'load':
        return this.kernel.step({ kind: 'model.load', model: intent.model });
      case 'unload':
        return this.kernel.step({ kind: 'model.unload', model: intent.model, reason: 'unload' });
      case 'pin':
      case 'unpin':
        return this.kernel.step({ kind: 'model.pin', model: intent.model, pinned: intent.kind === 'pin' });
      case 'reload':
        return this.#reload(intent.model, intent.change, intent.value);
      default:
        if (this.engines.faults) strike(this, intent);
    }
  }

  /** From here on nothing breaks by itself any more. */
  heal(): void {
    this.engines.faults = false;
    this.kernel.thaw();
    this.diskFull = false;
    if (this.kernel.state.shutdown) this.restart({ adoptable: true });
    for (const engine of this.engines.all.values()) if (engine.forgotten) this.engines.sweep(engine);
    this.files.faults = false;
    this.#devicesAreSeen();
    this.monitor.heal();
    for (const engine of this.engines.living()) {
      engine.sick = false;
      engine.slowHealth = false;
    }
  }

  /** kill -9 and a new start: what runs is looked for before anything is started, which takes a while now and then. */
  restart({ adoptable, looksMs = 0, lost = 0, torn = false }: Restart): void {
    this.#marks.killed();
    this.clients.gatewayDied();
    this.history.gatewayDied();
    this.history.mark('killed');
    this.files.gatewayDied();
    this.kernel.rebirth(this.#inForce());
    this.shutdownDone = false;
    this.kernel.step({ kind: 'adoption.begun' });
    // What cannot be read is put aside, and nothing was known.
    if (torn) this.history.mark('records.torn');
    if (torn) this.#learned.clear();
    if (torn) this.#pinned = [];
    this.kernel.step({ kind: 'footprints.loaded', footprints: [...this.#learned.values()] });
    if (looksMs === 0) return this.#look(adoptable, lost);
    const { life } = this.kernel;
    this.kernel.after(looksMs, () => {
      if (life === this.kernel.life) this.#look(adoptable, lost);
    });
  }

  #look(adoptable: boolean, lost: number): void {
    for (const found of this.engines.found(adoptable, this.engines.faults ? lost : 0))
      this.kernel.step({ kind: 'replica.found', found });
    for (const engine of this.engines.all.values()) if (engine.forgotten) this.history.mark('replica.orphan_forgotten');
    this.monitor.lookAtAll();
    this.kernel.step({ kind: 'adoption.ended' });
    this.boot();
  }

  /** What the shell asks for when it starts. */
  boot(): void {
    for (const model of this.#pinned) this.kernel.step({ kind: 'model.pin', model, pinned: true });
    for (const model of this.settings.models.values()) {
      if (model.preload || model.alwaysOn) this.kernel.step({ kind: 'model.load', model: model.name });
    }
  }

  changeWhileDown(name: string): void {
    const version = this.settings.version + 1;
    const model = this.settings.models.get(name);
    if (!model) return;
    const models = new Map(this.settings.models).set(name, { ...model, specHash: `${name}#${version}` });
    this.settings = { ...this.settings, version, models };
  }

  foreign(id: string, share: number): void {
    const device = this.scenario.devices.find((candidate) => candidate.id === id);
    if (!device) return;
    this.engines.memory.setForeign(id, Math.floor(device.totalBytes * share));
    if (this.scenario.probe === 'none') this.monitor.look(id);
  }

  #reload(name: string, what: ReloadChange, value: number): void {
    const models = new Map(this.settings.models);
    let { limits, devices } = this.settings;
    const version = this.settings.version + 1;
    const model = models.get(name);
    const change = (over: Partial<ModelSettings>): void => {
      if (model) models.set(name, { ...model, ...over });
    };
    switch (what) {
      case 'spec':
        change({ specHash: `${name}#${version}` });
        break;
      case 'memory': {
        const largest = Math.max(...this.settings.devices.map((device) => device.budgetBytes));
        change({ specHash: `${name}#${version}`, memory: Math.max(1, Math.floor((largest * (value % 25)) / 20)) });
        break;
      }
      case 'turns': {
        const span = value * 1_000;
        limits = { ...limits, maxTurn: span, minResidency: span / 2, drainTimeout: 1_000 + span };
        break;
      }
      case 'removed':
        models.delete(name);
        break;
      case 'added': {
        const original = settingsOf(this.scenario).models.get(name);
        if (!model && original) models.set(name, original);
        break;
      }
      case 'limits':
        change({
          maxQueueSize: 1 + (value % 20),
          maxConcurrent: 1 + (value % 7),
          queueTimeout: 5_000 + value * 1_000,
        });
        break;
      case 'max_in_flight':
        limits = { ...limits, maxInFlight: 1 + (value % 12) };
        break;
      case 'always_on':
      case 'not_always_on':
        change({ alwaysOn: what === 'always_on' });
        break;
      case 'unstartable':
        change({ unstartable: { cause: 'unsupported', message: 'it needs what this machine lacks.' } });
        break;
      case 'startable':
        change({ unstartable: null });
        break;
      case 'device_lost':
        devices = devices.length > 1 ? devices.filter((_, index) => index !== value % devices.length) : devices;
        break;
      case 'devices_back':
        devices = settingsOf(this.scenario).devices;
    }
    this.settings = { ...this.settings, version, limits, devices, models: onDevices(models, devices, this.scenario) };
    this.history.mark(`reload.${what}`);
    this.kernel.step({ kind: 'settings.replaced', settings: this.#inForce() });
    this.monitor.lookAtAll();
  }

  #perform(effect: FleetEffect): void {
    switch (effect.kind) {
      case 'replica.launch':
        return this.engines.launch(effect);
      case 'replica.stop':
        return this.engines.stop(effect);
      case 'model.prepare':
        return this.files.prepare(effect.model);
      case 'model.prepare_cancelled':
        return this.files.cancel(effect.model);
      case 'footprint.learned': {
        if (this.diskFull) return;
        const { model, signature } = effect.footprint;
        const { deviceClass, tensorParallel } = signature;
        this.#learned.set(`${model} ${deviceClass} ${tensorParallel}`, effect.footprint);
        return;
      }
      case 'replica.adopt':
        return this.engines.adopt(effect.replica);
      case 'replica.watch':
        return this.engines.watch(effect.replica);
      case 'replica.unwatch':
        return this.engines.unwatch(effect.replica);
      case 'pins.changed':
        if (!this.diskFull) this.#pinned = effect.pinned;
        return;
      case 'shutdown.done':
        this.shutdownDone = true;
        return;
      case 'decision':
        return;
      default:
        return this.clients.perform(effect);
    }
  }
}

/** Each on those of its own devices that there are. */
function onDevices(
  models: ReadonlyMap<string, ModelSettings>,
  devices: FleetSettings['devices'],
  scenario: Scenario,
): ReadonlyMap<string, ModelSettings> {
  const own = new Map(scenario.models.map(({ settings }) => [settings.name, settings.deviceIds]));
  const there = new Set(devices.map(({ id }) => id));
  return new Map(
    [...models].map(([name, model]) => {
      const deviceIds = (own.get(name) ?? []).filter((id) => there.has(id));
      return [name, { ...model, deviceIds }] as const;
    }),
  );
}
