/** What a status answer is made from, and how its numbers are written. */
import type { Config } from '../config/config.ts';
import type { InForce } from '../config/reload-report.ts';
import type { DeviceSnapshot, FleetSnapshot, ReplicaSnapshot } from '../core/snapshot.ts';
import type { WorkersFacts } from '../telemetry/telemetry.ts';
import { MIB, SECOND } from '../units.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { AdminOptions } from './options.ts';

/** Everything that one status answer is made from, read once. */
export interface StatusFacts {
  readonly fleet: FleetSnapshot;
  readonly config: Config;
  readonly inForce: InForce | null;
  readonly health: { readonly ready: boolean; readonly reasons: readonly string[] };
  readonly bufferedBytes: Bytes;
  readonly workers: WorkersFacts | null;
  readonly gateway: { readonly id: string; readonly version: string; readonly startedAt: Milliseconds };
  /** Wall clock at `fleet.at`. */
  readonly wall: Milliseconds;
  /** May the caller see addresses of engines? */
  readonly privileged: boolean;
}

export function readStatusFacts(options: AdminOptions, startedAt: Milliseconds, privileged: boolean): StatusFacts {
  const fleet = options.control.snapshot();
  return {
    fleet,
    config: options.config(),
    inForce: options.inForce?.() ?? null,
    health: options.control.health(),
    bufferedBytes: options.proxyStats().bufferedBytes,
    workers: options.workers?.() ?? null,
    gateway: { ...options.gateway, startedAt },
    wall: options.clock.wall() - (options.clock.monotonic() - fleet.at),
    privileged,
  };
}

export interface WallTimes {
  /** ISO 8601 of a point on the monotonic clock. */
  iso(at: Milliseconds): string;
  isoOrNull(at: Milliseconds | null): string | null;
  /** Seconds since the epoch of a point on the monotonic clock. */
  epoch(at: Milliseconds): number;
}

export function wallTimes({ fleet, wall }: StatusFacts): WallTimes {
  const toWall = (at: Milliseconds): Milliseconds => Math.round(wall + at - fleet.at);
  const iso = (at: Milliseconds): string => new Date(toWall(at)).toISOString();
  return { iso, isoOrNull: (at) => (at === null ? null : iso(at)), epoch: (at) => toWall(at) / SECOND };
}

/** A replica's bytes on each of its devices: they share alike. */
export function bytesPerDevice(replica: ReplicaSnapshot): Bytes {
  return replica.devices.length === 0 ? 0 : replica.reservedBytes / replica.devices.length;
}

export function isComing(replica: ReplicaSnapshot): boolean {
  return replica.state === 'reserved' || replica.state === 'starting';
}

/** As read; else others' bytes and those of engines that are up: one that still loads counts as reserved only. */
export function usedBytes(device: DeviceSnapshot, fleet: FleetSnapshot): Bytes {
  if (device.usedBytes !== null) return device.usedBytes;
  let used = device.foreignBytes;
  for (const id of device.residents) {
    const replica = fleet.replicas.get(id);
    if (replica && !isComing(replica)) used += bytesPerDevice(replica);
  }
  return used;
}

/** MiB with one decimal. */
export function mib(bytes: Bytes): number {
  return Math.round((bytes / MIB) * 10) / 10;
}

/** Seconds with three decimals. */
export function seconds(span: Milliseconds): number {
  return Math.round(span) / SECOND;
}
