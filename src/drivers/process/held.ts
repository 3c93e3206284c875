import type { Endpoint } from '../../core/state.ts';
import { processMark } from './environment.ts';
import type { ReplicaRecord } from './records.ts';
import type { ReplicaLog } from '../logs/replica-log.ts';
import type { ProcessTree } from './stop-tree.ts';

/** A process that this driver object launched or adopted and that was not stopped yet. */
export interface Held {
  readonly record: ReplicaRecord;
  readonly log: ReplicaLog;
  exited: boolean;
  /** The record on disk is this one. */
  saved: boolean;
  /** Our child: resolves when its exit was reported. null = adopted, its exit is seen by looking. */
  reported: Promise<void> | null;
}

export function treeOf(record: ReplicaRecord): ProcessTree {
  const { pid, startTime } = record;
  return {
    leader: pid === null || startTime === null ? null : { pid, startTime },
    mark: processMark(record.gateway, record),
  };
}

export function endpointOf(record: ReplicaRecord): Endpoint {
  const host = connectable(record.host);
  return {
    origin: `http://${host}${record.port === null ? '' : `:${record.port}`}`,
    pathPrefix: '',
    pid: record.pid,
    container: null,
  };
}

/** An engine that listens everywhere is reached on the loopback. */
function connectable(host: string): string {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
