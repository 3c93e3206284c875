/** The last finished requests, for `GET /gateway/requests/{id}`. */
import type { RequestRecord } from './telemetry.ts';

export const REQUEST_LOG_SIZE = 1_000;

export interface RequestLog {
  add(record: RequestRecord): void;
  /** The newest with this id; `keyId` null = of any key. Ids may repeat: clients choose them. */
  find(id: string, keyId: string | null): RequestRecord | undefined;
}

/** A ring: adding is two writes (every request), finding walks it (an operator's question). */
export function createRequestLog(size: number = REQUEST_LOG_SIZE): RequestLog {
  const ring: (RequestRecord | undefined)[] = new Array<undefined>(size).fill(undefined);
  let next = 0;
  return {
    add(record) {
      ring[next] = record;
      next = (next + 1) % size;
    },
    find(id, keyId) {
      for (let back = 1; back <= size; back += 1) {
        const record = ring[(next - back + size) % size];
        if (record === undefined) return undefined;
        if (record.id === id && (keyId === null || record.keyId === keyId)) return record;
      }
      return undefined;
    },
  };
}
