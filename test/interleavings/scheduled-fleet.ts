/** A real controller whose driver and engines answer when a scheduler says so, and askers that watch what they are told. */
import type { Scheduler } from 'fast-check';
import { expect } from 'vitest';
import type { Lease, Refusal, Ticket, TicketSink } from '../../src/controller/gate.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import type { ReplicaIdentity, StopOptions } from '../../src/drivers/driver.ts';
import { SECOND } from '../../src/units.ts';
import { createScriptedFleet, fleetSettings, modelSettings, type ScriptedFleet } from '../support/scripted-fleet.ts';
import { settle } from '../support/virtual-clock.ts';

export const SLOTS = 2;
const MODELS = ['a', 'b'] as const;
export type Model = (typeof MODELS)[number];

/** One request: what it was told, and what it did. */
export class Asker implements TicketSink {
  readonly model: Model;
  readonly told: ('granted' | 'refused')[] = [];
  lease: Lease | null = null;
  ticket: Ticket | null = null;
  gone = false;
  cuts = 0;
  /** What it does in the very call that grants. */
  whenGranted: () => void = () => undefined;
  readonly #fleet: ScheduledFleet;
  #asking = false;

  constructor(fleet: ScheduledFleet, model: Model) {
    this.#fleet = fleet;
    this.model = model;
  }

  ask(id: string): void {
    const { desk } = this.#fleet.fleet.controller;
    this.#asking = true;
    this.#take(desk.acquire({ id, model: this.model, keyId: 'anonymous', stream: false, patience: null }, this));
    this.#asking = false;
  }

  granted(lease: Lease): void {
    this.#heard('granted');
    this.#hold(lease);
    this.whenGranted();
  }

  refused(): void {
    this.#heard('refused');
    this.ticket = null;
  }

  /** As the proxy does: the lease ends, whatever it was about. */
  cut(): void {
    expect(this.lease, 'a cut of somebody without a lease').not.toBeNull();
    this.cuts += 1;
    this.done();
  }

  leave(): void {
    if (this.told.length === 0 && this.ticket !== null) this.gone = true;
    this.ticket?.abandon();
    this.ticket = null;
    this.done();
  }

  done(): void {
    const { lease } = this;
    if (lease === null) return;
    this.lease = null;
    this.#fleet.ended(lease);
    lease.release('completed');
    // Whoever is late does it twice.
    lease.release('client_closed');
  }

  /** The engine says that it goes down. */
  giveBack(): void {
    const { lease } = this;
    if (lease === null) return;
    this.lease = null;
    this.#fleet.ended(lease);
    this.told.length = 0;
    this.#take(lease.giveBack());
    lease.release('completed');
  }

  #take(next: Lease | Ticket | Refusal): void {
    if (next.kind === 'ticket') {
      this.ticket = next;
      return;
    }
    this.told.push(next.kind === 'lease' ? 'granted' : 'refused');
    if (next.kind === 'lease') this.#hold(next);
  }

  #hold(lease: Lease): void {
    this.ticket = null;
    this.lease = lease;
    this.#fleet.began(lease);
  }

  #heard(what: 'granted' | 'refused'): void {
    expect(this.#asking, 'told while it asks').toBe(false);
    expect(this.gone, `${what} after it had left`).toBe(false);
    this.told.push(what);
  }
}

export class ScheduledFleet {
  readonly fleet: ScriptedFleet;
  readonly askers: Asker[] = [];
  /** Launched and neither ended nor told to end. */
  readonly running = new Map<string, ReplicaIdentity>();
  readonly launched: ReplicaIdentity[] = [];
  readonly stopped: ReplicaRef[] = [];
  launchFails = false;
  shutdown = false;
  readonly #scheduler: Scheduler;
  readonly #held = new Map<string, Set<Lease>>();
  #ids = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    this.fleet = createScriptedFleet(
      fleetSettings(MODELS.map((name) => modelSettings(name, { maxConcurrent: SLOTS, maxQueueSize: 20 }))),
    );
    const { driver, platform } = this.fleet;
    const later = (label: string): Promise<void> => scheduler.schedule(Promise.resolve(), label);
    const launch = driver.launch.bind(driver);
    const launching = new Map<string, Promise<unknown>>();
    driver.launch = (spec, identity) => {
      const launched = launchLater(spec, identity);
      launching.set(identity.id, launched);
      return launched;
    };
    const launchLater: typeof driver.launch = async (spec, identity) => {
      await later('launch begins');
      const others = [...this.running.values()].filter(({ model }) => model === identity.model);
      expect(others, 'a second engine of one model').toEqual([]);
      if (this.launchFails) throw new Error('the machine is out of processes');
      this.running.set(identity.id, identity);
      this.launched.push(identity);
      const endpoint = await launch(spec, identity);
      await later('launch is told');
      return endpoint;
    };
    driver.stop = async (replica: ReplicaRef, _options: StopOptions) => {
      this.stopped.push(replica);
      await later('stop begins');
      // As the contract of drivers has it: a launch that is under way is waited for.
      await launching.get(replica.id)?.catch(() => undefined);
      this.running.delete(replica.id);
      await later('stop is told');
    };
    this.fleet.engineAnswers();
    const answer = platform.http.answer.bind(platform.http);
    platform.http.answer = async (url, options) => {
      await later('an engine is asked');
      return answer(url, options);
    };
  }

  began(lease: Lease): void {
    expect(lease.alive, 'a lease of a replica that is not ready').toBe(true);
    const held = this.#held.get(lease.replicaId) ?? new Set();
    this.#held.set(lease.replicaId, held.add(lease));
    expect(held.size, 'leases of one replica').toBeLessThanOrEqual(SLOTS);
  }

  ended(lease: Lease): void {
    this.#held.get(lease.replicaId)?.delete(lease);
  }

  ask(model: Model): void {
    const asker = new Asker(this, model);
    this.askers.push(asker);
    // Every third one makes the next one leave, which may have been granted in the same step.
    if (this.askers.length % 3 === 1) {
      const next = this.askers.length;
      asker.whenGranted = () => this.askers[next]?.leave();
    }
    this.#ids += 1;
    asker.ask(`r${this.#ids}`);
  }

  crash(): void {
    const [identity] = this.running.values();
    if (identity === undefined) return;
    this.running.delete(identity.id);
    this.fleet.driver.exit({ id: identity.id, generation: identity.generation }, 1);
  }

  end(): void {
    this.shutdown = true;
    const { controller } = this.fleet;
    controller.post({ kind: 'shutdown.begun', keep: [], deadline: controller.now + 30 * SECOND });
  }

  /** Does these in any order between all else that happens. */
  async run(acts: readonly (readonly [string, () => void])[]): Promise<void> {
    for (const [label, act] of acts) void this.#scheduler.schedule(Promise.resolve(), label).then(act);
    await this.#scheduler.waitIdle();
  }

  /** Time passes until everybody has been told and nothing moves. */
  async comesToRest(): Promise<void> {
    const { clock } = this.fleet.platform;
    this.launchFails = false;
    for (let round = 0; round < 200; round += 1) {
      await this.#scheduler.waitIdle();
      await settle();
      for (const asker of this.askers) asker.done();
      if (this.askers.every(({ told, gone }) => gone || told.length > 0)) break;
      clock.advance(5 * SECOND);
    }
    await this.#scheduler.waitIdle();
  }

  /** The end of the gateway, and nothing of it left. */
  async endsWell(): Promise<void> {
    const { controller, platform } = this.fleet;
    let done = false;
    void controller.shutdownDone.then(() => (done = true));
    if (!this.shutdown) this.end();
    for (let round = 0; round < 60 && !done; round += 1) {
      await this.#scheduler.waitIdle();
      await settle();
      for (const asker of this.askers) asker.done();
      platform.clock.advance(SECOND);
    }
    expect(done, 'the shutdown is done').toBe(true);
    expect(controller.desk.size, 'requests at the desk').toBe(0);
    expect([...this.running.keys()], 'engines that still run').toEqual([]);
    expect(controller.state.replicas.size, 'replicas').toBe(0);
    controller.close();
    await this.#scheduler.waitIdle();
    expect(platform.clock.pending, 'timers').toBe(0);
  }
}
