/** A source of observed GPU memory. */
import type { Bytes } from '../units.ts';

export interface DeviceReading {
  /** As the configuration names it, else its uuid. */
  readonly id: string;
  readonly uuid: string | null;
  /** E.g. `NVIDIA GeForce RTX 4090`; null = unknown. */
  readonly name: string | null;
  readonly totalBytes: Bytes;
  /** Null = nobody knows (a listed device, or a field that the source could not read). */
  readonly usedBytes: Bytes | null;
  /** Why nothing may be placed there (memory not readable, split into MIG instances, lost); null = fine. */
  readonly trouble: string | null;
}

/** Memory of one process on one device. */
export interface ProcessReading {
  readonly deviceId: string;
  /** As the machine numbers it. */
  readonly pid: number;
  readonly bytes: Bytes;
}

export interface ProbeReading {
  readonly devices: readonly DeviceReading[];
  /** Null = the source cannot tell processes apart. */
  readonly processes: readonly ProcessReading[] | null;
  /** Version of the GPU driver; null = unknown. */
  readonly driverVersion: string | null;
}

export interface Probe {
  readonly kind: string;
  /** False when every reading is the same for good: nobody need look twice, nor wait for memory to be seen back. */
  readonly observes: boolean;
  /** For people: how it reads, and why that way. May change until the first reading. */
  readonly detail?: string;
  /** Rejects, within a few seconds, when the devices cannot be read now. One read at a time. */
  read(): Promise<ProbeReading>;
  close(): Promise<void>;
}
