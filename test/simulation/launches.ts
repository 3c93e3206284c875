/** At every launch: are its bytes there, peaks of all starts included, on devices that may take it, with its files there? */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Bytes } from '../../src/units.ts';
import type { Kernel, Observer } from './kernel.ts';

type Launch = Extract<FleetEffect, { kind: 'replica.launch' }>;

export class Launches implements Observer {
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void {
    if (quiet) return;
    for (const effect of effects) {
      if (effect.kind === 'replica.launch') this.#launched(effect);
      // Item 165: what was measured stands in the place of what was promised in the very step that says so.
      if (event.kind === 'replica.measured' && effect.kind === 'decision') this.#measured(event);
    }
  }

  #launched({ model: name, replica, reservations, share }: Launch): void {
    const { state, check } = { state: this.#kernel.state, check: this.#kernel.check.bind(this.#kernel) };
    const model = state.models.get(name);
    check('prepare', model?.prepared === true, () => `${replica.id} starts before its files are there`);
    check('shutdown', state.shutdown === null, () => `${replica.id} starts during shutdown`);
    const few = reservations.size > 0 && share.tensorParallel < 1;
    check('I-45', !few, () => `${replica.id} is told to span ${share.tensorParallel} devices`);
    for (const id of reservations.keys()) {
      const device = state.devices.get(id);
      check(
        'I-48',
        device?.silent === null || device?.unmeasured === true,
        () => `${replica.id} starts on silent ${id}`,
      );
      check('quarantine', device?.quarantine === null, () => `${replica.id} starts on ${id}, which is closed`);
      const capacity = this.#capacity(id);
      const held = this.#held(id);
      check('I-38', held <= capacity, () => `${held} bytes may be held on ${id}, which has ${capacity}`);
    }
  }

  #measured(event: Extract<FleetEvent, { kind: 'replica.measured' }>): void {
    const replica = this.#kernel.state.replicas.get(event.replica.id);
    for (const [id, bytes] of event.steady) {
      const now = replica?.reservations.get(id);
      const fine = now === undefined || now === Math.ceil(bytes);
      this.#kernel.check(
        'I-41',
        fine,
        () => `${event.replica.id} was seen with ${bytes} on ${id} and stands for ${now}`,
      );
    }
  }

  #capacity(id: string): Bytes {
    const device = this.#kernel.state.devices.get(id);
    if (!device) return 0;
    if (device.unmeasured) return device.budgetBytes;
    return Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes);
  }

  #held(id: string): Bytes {
    let sum = 0;
    for (const { phase, readyAt, reservations, peaks } of this.#kernel.state.replicas.values()) {
      const steady = reservations.get(id) ?? 0;
      if (phase !== 'reserved') sum += readyAt === null ? Math.max(steady, peaks.get(id) ?? 0) : steady;
    }
    return sum;
  }
}
