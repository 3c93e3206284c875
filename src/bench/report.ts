/** What `bench` measured. */
import type { Milliseconds } from '../units.ts';

export interface TargetReport {
  readonly requestsPerSecond: number;
  /** Of one plain request at a time. */
  readonly p50Ms: Milliseconds;
  readonly p99Ms: Milliseconds;
  /** Against the engine alone, in the same run; null for the engine itself. */
  readonly addedP50Ms: Milliseconds | null;
  readonly addedP99Ms: Milliseconds | null;
  /** CPU time of this process per request; null where it cannot be told. */
  readonly cpuMsPerRequest: Milliseconds | null;
  /** Events of all streams together, and the CPU time for a thousand of them. */
  readonly streamEventsPerSecond: number;
  readonly cpuMsPerThousandEvents: Milliseconds | null;
}

export interface BenchReport {
  /** Requests at a time, where requests per second are counted. */
  readonly concurrency: number;
  readonly streams: number;
  /** Answers that were not what they had to be. */
  readonly faults: number;
  readonly seconds: number;
  readonly engine: TargetReport;
  readonly relay: TargetReport;
  readonly gateway: TargetReport;
}
