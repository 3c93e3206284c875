/** A source of observed GPU memory. */
import type { Bytes } from '../units.ts';

export interface DeviceReading {
  readonly id: string;
  readonly uuid: string | null;
  readonly totalBytes: Bytes;
  readonly usedBytes: Bytes;
}

export interface Probe {
  readonly kind: string;
  /** Rejects when the devices cannot be read now. */
  read(): Promise<readonly DeviceReading[]>;
  close(): Promise<void>;
}
