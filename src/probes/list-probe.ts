/** Devices as the configuration lists them: nobody looks, so nothing but the gateway's own promises is known of them. */
import type { Config } from '../config/config.ts';
import type { DeviceReading, Probe } from './probe.ts';

export class ListProbe implements Probe {
  readonly kind: string;
  readonly #readings: readonly DeviceReading[];

  constructor(kind: string, devices: Config['devices']['list']) {
    this.kind = kind;
    this.#readings = devices.map(({ id, uuid, memory }) => ({ id, uuid, totalBytes: memory, usedBytes: 0 }));
  }

  async read(): Promise<readonly DeviceReading[]> {
    return this.#readings;
  }

  async close(): Promise<void> {}
}
