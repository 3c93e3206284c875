/** Who reads the devices: every few seconds, as well as that can be done, and not at all while they are silent. */
import type { Bytes, Milliseconds } from '../../src/units.ts';
import type { DeviceMemory } from './device-memory.ts';
import type { Kernel } from './kernel.ts';
import { Random } from './random.ts';
import type { Scenario } from './scenario.ts';

const PERIOD: Milliseconds = 10_000;
const PERIOD_WHILE_MOVING: Milliseconds = 2_000;

export class Monitor {
  readonly #kernel: Kernel;
  readonly #memory: DeviceMemory;
  readonly #scenario: Scenario;
  /** Until when a device is silent. */
  readonly #silent = new Map<string, Milliseconds>();
  readonly #misread = new Map<string, 'stale' | 'garbage'>();
  readonly #random: Random;

  constructor(kernel: Kernel, memory: DeviceMemory, scenario: Scenario) {
    this.#kernel = kernel;
    this.#memory = memory;
    this.#scenario = scenario;
    this.#random = new Random(scenario.seed, 'probe');
  }

  begin(): void {
    if (this.#scenario.probe === 'none') return;
    this.lookAtAll();
    this.#kernel.after(this.#isMoving() ? PERIOD_WHILE_MOVING : PERIOD, () => this.begin());
  }

  lookAtAll(): void {
    for (const { id } of this.#scenario.devices) this.look(id);
  }

  look(id: string): void {
    const device = this.#kernel.state.devices.get(id);
    if (!device) return;
    if ((this.#silent.get(id) ?? 0) > this.#kernel.now) {
      this.#kernel.step({ kind: 'device.silent', id, reason: 'nvidia-smi does not answer' });
      return;
    }
    const misread = this.#misread.get(id);
    if (misread === 'stale') return;
    const usedBytes = this.#memory.used(id) + this.#memory.foreign(id);
    const foreignBytes =
      misread === 'garbage' ? this.#random.int(0, 16) * (device.totalBytes / 8) : this.#foreign(id, usedBytes);
    const news = device.usedBytes !== usedBytes || device.foreignBytes !== foreignBytes || device.silent !== null;
    const { totalBytes } = device;
    if (news) this.#kernel.step({ kind: 'device.observed', id, totalBytes, usedBytes, foreignBytes });
  }

  silence(id: string, lastsMs: Milliseconds): void {
    this.#silent.set(id, this.#kernel.now + lastsMs);
    this.look(id);
    this.#kernel.after(lastsMs, () => this.look(id));
  }

  misread(id: string, how: 'stale' | 'garbage', lastsMs: Milliseconds): void {
    this.#misread.set(id, how);
    this.look(id);
    this.#kernel.after(lastsMs, () => {
      this.#misread.delete(id);
      this.look(id);
    });
  }

  heal(): void {
    this.#silent.clear();
    this.#misread.clear();
    for (const { id } of this.#scenario.devices) this.#memory.setForeign(id, 0);
    this.lookAtAll();
  }

  #foreign(id: string, used: Bytes): Bytes {
    const { state } = this.#kernel;
    if (this.#scenario.probe !== 'devices') return this.#memory.foreign(id) + this.#memory.strays(id);
    let own = 0;
    for (const { phase, reservations } of state.replicas.values()) {
      const bytes = reservations.get(id);
      if (bytes === undefined) continue;
      // A start that grows is nobody else.
      if (phase !== 'ready' && phase !== 'draining') return state.devices.get(id)?.foreignBytes ?? 0;
      own += bytes;
    }
    return Math.max(0, used - own);
  }

  #isMoving(): boolean {
    return [...this.#kernel.state.replicas.values()].some(({ phase }) => phase === 'starting' || phase === 'stopping');
  }
}
