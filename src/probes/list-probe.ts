/** Devices as the configuration lists them: nobody looks, so nothing but the gateway's own promises is known of them. */
import type { Config } from '../config/config.ts';
import type { Probe, ProbeReading } from './probe.ts';

export class ListProbe implements Probe {
  readonly kind: string;
  readonly observes = false;
  readonly detail: string;
  readonly #reading: ProbeReading;

  constructor(kind: string, devices: Config['devices']['list']) {
    this.kind = kind;
    this.detail = devices.length > 0 ? 'takes GPUs as devices.list names them' : 'looks for no GPUs';
    this.#reading = {
      devices: devices.map(({ id, uuid, memory }) => ({
        id,
        uuid,
        name: null,
        totalBytes: memory,
        usedBytes: null,
        trouble: null,
      })),
      processes: null,
      driverVersion: null,
    };
  }

  async read(): Promise<ProbeReading> {
    return this.#reading;
  }

  async close(): Promise<void> {}
}
