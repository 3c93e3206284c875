/**
 * What devices truly hold, moment by moment, kept apart from the core's ledger: never more than there is, and by our own
 * doing never more than the budget. An engine that measures free memory is thrown off by a neighbour that moves meanwhile.
 */
import type { FleetEvent } from '../../src/core/events.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import type { Bytes } from '../../src/units.ts';
import type { Kernel, Observer } from './kernel.ts';
import type { SimulatedDevice } from './scenario.ts';

export interface Owner {
  readonly ref: ReplicaRef;
  /** It looks at free memory at the beginning of the load and again after a trial run. */
  window: 'before' | 'measuring' | 'after';
  /** Its KV cache was given to it in bytes: it measures nothing. */
  readonly fixed: boolean;
  /** Bytes of others, as the gateway knew them at its launch. */
  readonly foreseen: ReadonlyMap<string, Bytes>;
  /** Nobody knows of it any more, and nobody can make others wait for it. */
  forgotten: boolean;
  /** Who moved memory while it measured. */
  missizedBy: string | null;
}

export class DeviceMemory implements Observer {
  readonly #kernel: Kernel;
  readonly #devices: ReadonlyMap<string, SimulatedDevice>;
  readonly #owners = new Map<Owner, ReadonlyMap<string, Bytes>>();
  readonly #foreign = new Map<string, Bytes>();

  constructor(kernel: Kernel, devices: readonly SimulatedDevice[]) {
    this.#kernel = kernel;
    this.#devices = new Map(devices.map((device) => [device.id, device]));
  }

  /**
   * One that measured beside a moving neighbour took bytes that are not its own: it must never be used. Looked at when its word
   * is heard: a gateway that stood still has heard nothing before.
   */
  before(event: FleetEvent): void {
    if (event.kind !== 'replica.ready') return;
    const { id, generation } = event.replica;
    const replica = this.#kernel.state.replicas.get(id);
    if (replica?.phase !== 'starting' || replica.adopted) return;
    for (const { ref, missizedBy } of this.#owners.keys()) {
      const sound = missizedBy === null || ref.id !== id || ref.generation !== generation;
      this.#kernel.check('I-43', sound, () => `${id} measured while ${missizedBy} moved memory`);
    }
  }

  after(): void {}

  /** It holds this from now on; false (and nothing changes) when there is not so much. */
  set(owner: Owner, bytes: ReadonlyMap<string, Bytes>): boolean {
    for (const [id, wanted] of bytes) if (!this.#fits(owner, id, wanted)) return false;
    this.#owners.set(owner, bytes);
    this.#throwOff(owner, bytes);
    return true;
  }

  give(owner: Owner): void {
    const bytes = this.#owners.get(owner);
    if (!bytes) return;
    this.#owners.delete(owner);
    this.#throwOff(owner, bytes);
  }

  holds(owner: Owner): ReadonlyMap<string, Bytes> {
    return this.#owners.get(owner) ?? new Map();
  }

  /** Bytes of our engines. */
  used(deviceId: string): Bytes {
    let sum = 0;
    for (const bytes of this.#owners.values()) sum += bytes.get(deviceId) ?? 0;
    return sum;
  }

  /** Of ours, where the ledger has none of them: whoever reads the devices takes these for others. */
  strays(deviceId: string): Bytes {
    let sum = 0;
    for (const [owner, bytes] of this.#owners) {
      const booked = this.#kernel.state.replicas.get(owner.ref.id)?.reservations.has(deviceId) === true;
      if (!booked) sum += bytes.get(deviceId) ?? 0;
    }
    return sum;
  }

  foreign(deviceId: string): Bytes {
    return this.#foreign.get(deviceId) ?? 0;
  }

  /** Others take what they want, or what is left. */
  setForeign(deviceId: string, wanted: Bytes): void {
    const total = this.#devices.get(deviceId)?.totalBytes ?? 0;
    this.#foreign.set(deviceId, Math.max(0, Math.min(wanted, total - this.used(deviceId))));
  }

  #fits(owner: Owner, id: string, wanted: Bytes): boolean {
    const device = this.#devices.get(id);
    if (!device) return false;
    const ours = this.used(id) - (this.#owners.get(owner)?.get(id) ?? 0) + wanted;
    const all = ours + this.foreign(id);
    const excuse = this.#excuse(owner, id, wanted);
    const { budgetBytes, totalBytes } = device;
    this.#kernel.check('I-39', ours <= budgetBytes || excuse, () => `${ours} of ${budgetBytes} bytes on ${id}`);
    this.#kernel.check('I-39', all <= totalBytes || excuse, () => `${all} bytes on ${id}, which has ${totalBytes}`);
    return all <= totalBytes;
  }

  /** Something takes more than was promised, or others more than anybody could know: a start may fail of that. */
  #excuse(owner: Owner, id: string, wanted: Bytes): boolean {
    const { state } = this.#kernel;
    const known = state.devices.get(id);
    if (!known || known.silent !== null || this.foreign(id) > (owner.foreseen.get(id) ?? 0)) return true;
    // Begun by an earlier life of the gateway, which knew of less.
    const mover = state.replicas.get(owner.ref.id);
    if (mover?.adopted === true && mover.readyAt === null) return true;
    let booked = 0;
    for (const [other, bytes] of new Map(this.#owners).set(owner, new Map([[id, wanted]]))) {
      const replica = state.replicas.get(other.ref.id);
      const steady = replica?.reservations.get(id) ?? 0;
      const promised = replica?.readyAt === null ? Math.max(steady, replica.peaks.get(id) ?? 0) : steady;
      booked += promised;
      if ((bytes.get(id) ?? 0) > promised) return true;
    }
    // One was seen to take more than it was promised, after this start had begun: whoever decides on a place is held to
    // what there is to give at that moment, by the invariants of the ledger.
    return booked > Math.min(known.budgetBytes, known.totalBytes - known.foreignBytes);
  }

  /** Its neighbours that measure see bytes come or go that are not their own. */
  #throwOff(mover: Owner, bytes: ReadonlyMap<string, Bytes>): void {
    for (const [owner, held] of this.#owners) {
      if (owner === mover || mover.forgotten || owner.window !== 'measuring' || owner.fixed) continue;
      if ([...held.keys()].some((id) => bytes.has(id))) owner.missizedBy = mover.ref.id;
    }
  }
}
