/** A probe whose readings a test writes. */
import type { DeviceReading, Probe, ProbeReading, ProcessReading } from '../../src/probes/probe.ts';
import { GIB } from '../../src/units.ts';

export class ScriptedProbe implements Probe {
  readonly kind = 'nvidia-smi';
  observes = true;
  reads = 0;
  /** Set to make every reading fail with it. */
  failure: string | null = null;
  /** Set to let every reading wait for it. */
  held: Promise<void> | null = null;
  devices: DeviceReading[] = [];
  processes: ProcessReading[] | null = [];
  driverVersion: string | null = '580';

  /** A device as its readings will show it, in GiB. */
  set(id: string, used: number, over: Partial<DeviceReading> = {}): void {
    const device: DeviceReading = {
      id,
      uuid: `GPU-${id}`,
      name: 'Pretended',
      totalBytes: 24 * GIB,
      usedBytes: used * GIB,
      trouble: null,
      ...over,
    };
    const place = this.devices.findIndex((known) => known.id === id);
    if (place < 0) this.devices.push(device);
    else this.devices[place] = device;
  }

  async read(): Promise<ProbeReading> {
    this.reads += 1;
    await this.held;
    if (this.failure !== null) throw new Error(this.failure);
    return this.now();
  }

  now(): ProbeReading {
    return {
      devices: [...this.devices],
      processes: this.processes && [...this.processes],
      driverVersion: this.driverVersion,
    };
  }

  async close(): Promise<void> {}
}
