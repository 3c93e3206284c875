/** A probe that this version does not have: the devices it would read are unknown, and the reason is told. */
import type { DeviceReading, Probe } from './probe.ts';

export class AbsentProbe implements Probe {
  readonly kind: string;

  constructor(kind: string) {
    this.kind = kind;
  }

  async read(): Promise<readonly DeviceReading[]> {
    throw new Error(`this version cannot read devices with ${this.kind}; list them under devices.list`);
  }

  async close(): Promise<void> {}
}
