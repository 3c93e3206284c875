/** What devices truly hold, kept apart from the core's ledger: by our own doing never more than the budget. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import type { Bytes } from '../../src/units.ts';
import type { Kernel } from './kernel.ts';
import type { SimulatedDevice } from './scenario.ts';

interface Owner {
  readonly ref: ReplicaRef;
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly phase: string;
}

export class DeviceMemory {
  readonly #kernel: Kernel;
  readonly #devices: ReadonlyMap<string, SimulatedDevice>;
  readonly #owners = new Map<string, Owner>();

  constructor(kernel: Kernel, devices: readonly SimulatedDevice[]) {
    this.#kernel = kernel;
    this.#devices = new Map(devices.map((device) => [device.id, device]));
  }

  take(owner: Owner): void {
    this.#owners.set(owner.ref.id, owner);
    for (const [id, device] of this.#devices) {
      const used = this.used(id);
      this.#kernel.check('I-39', used <= device.budgetBytes, () => `${used} of ${device.budgetBytes} bytes on ${id}`);
    }
  }

  give(owner: Owner): void {
    this.#owners.delete(owner.ref.id);
  }

  used(deviceId: string): Bytes {
    let sum = 0;
    for (const owner of this.#owners.values()) sum += owner.reservations.get(deviceId) ?? 0;
    return sum;
  }

  /** An engine that sizes itself must not have a neighbour that goes away in good order meanwhile. */
  stopBegins(leaving: Owner, effect: Extract<FleetEffect, { kind: 'replica.stop' }>): void {
    const forced = effect.starting || effect.exited || effect.reason === 'not_adopted';
    if (forced || effect.reason === 'crashed' || effect.reason === 'stalled' || effect.reason === 'unhealthy') return;
    for (const neighbour of this.#sizing(leaving)) {
      this.#kernel.fail('I-43', `${leaving.ref.id} stops (${effect.reason}) while ${neighbour.ref.id} sizes itself`);
    }
  }

  /** Nor is anything else launched beside it. */
  launchBegins(launched: Owner): void {
    for (const neighbour of this.#sizing(launched)) {
      this.#kernel.fail('I-43', `${launched.ref.id} starts while ${neighbour.ref.id} sizes itself`);
    }
  }

  *#sizing(other: Owner): Generator<Owner> {
    for (const owner of this.#owners.values()) {
      if (owner.ref.id === other.ref.id || owner.phase !== 'loading') continue;
      // One that failed is on its way out; one from an earlier run is past its sizing.
      const known = this.#kernel.state.replicas.get(owner.ref.id);
      if (known?.phase !== 'starting' || known.adopted) continue;
      if ([...owner.reservations.keys()].some((id) => other.reservations.has(id))) yield owner;
    }
  }
}
