/** `GET /gateway/status`: one snapshot, told in the interface's words. */
import type { Config } from '../config/config.ts';
import type { Milliseconds } from '../units.ts';
import type { Footprint } from '../core/memory/footprint.ts';
import type { DeviceSnapshot, FleetSnapshot, ModelSnapshot, ReplicaSnapshot } from '../core/snapshot.ts';
import type { DeviceStatus, FootprintStatus, ModelStatus, ReplicaStatus, StatusAnswer } from './contract.ts';
import { originalFields } from './original-status.ts';
import { mib, seconds, usedBytes, wallTimes } from './status-facts.ts';
import type { StatusFacts, WallTimes } from './status-facts.ts';

export function statusAnswerOf(facts: StatusFacts): StatusAnswer {
  const { fleet } = facts;
  const times = wallTimes(facts);
  return {
    gateway: {
      id: facts.gateway.id,
      version: facts.gateway.version,
      started_at: times.iso(facts.gateway.startedAt),
      uptime_s: seconds(fleet.at - facts.gateway.startedAt),
      state: stateOf(facts),
      workers: facts.workers,
    },
    config: configStatus(facts, times),
    limits: limitsOf(facts),
    devices: mapped(fleet.devices, (device) => deviceStatus(device, fleet, times)),
    models: mapped(fleet.models, (model) => modelStatus(model, facts, times)),
    replicas: mapped(fleet.replicas, (replica) => replicaStatus(replica, times)),
    footprints: footprintsOf(fleet),
    ...originalFields(facts, times),
  };
}

function stateOf({ fleet, health }: StatusFacts): StatusAnswer['gateway']['state'] {
  if (fleet.shuttingDown) return 'draining';
  if (!health.ready) return 'not_ready';
  return health.reasons.length > 0 ? 'degraded' : 'ready';
}

function configStatus({ config, inForce, gateway }: StatusFacts, times: WallTimes): StatusAnswer['config'] {
  const rejected = inForce?.rejected ?? null;
  const iso = (at: Milliseconds): string => new Date(at).toISOString();
  return {
    source: config.source,
    version: inForce?.version ?? 1,
    loaded_at: inForce ? iso(inForce.loadedAt) : times.iso(gateway.startedAt),
    rejected_at: rejected && iso(rejected.at),
    problems: [...config.problems, ...(rejected?.problems ?? [])].map((problem) => ({ ...problem })),
  };
}

function limitsOf({ config, fleet, bufferedBytes }: StatusFacts): StatusAnswer['limits'] {
  const { limits } = config;
  // The product is the pool of the original; every one of its connections may be kept alive.
  const pool = limits.maxConcurrent * limits.maxModelsConcurrent;
  return {
    max_queue_size: limits.maxQueueSize,
    max_concurrent: limits.maxConcurrent,
    max_models_concurrent: limits.maxModelsConcurrent,
    max_in_flight: fleet.maxInFlight,
    http_pool_size: pool,
    http_keepalive_size: pool,
    queue_timeout_s: seconds(limits.queueTimeout),
    buffered_bytes: bufferedBytes,
    max_buffered_bytes: limits.maxBufferedBytes,
  };
}

function modelStatus(model: ModelSnapshot, facts: StatusFacts, times: WallTimes): ModelStatus {
  const { lastFailure: failure, preparation, need } = model;
  return {
    state: model.state,
    driver: model.driver,
    aliases: aliasesOf(model.name, facts.config),
    replicas: [...model.replicas],
    queued: model.queued,
    in_flight: model.inFlight,
    waiting_for: model.waitingFor,
    max_concurrent: model.maxConcurrent,
    max_queue_size: model.maxQueueSize,
    last_used_at: times.isoOrNull(model.lastUsedAt),
    pinned_by: model.pinnedBy,
    preparation: preparation && {
      phase: preparation.phase,
      progress: preparation.fraction,
      since: times.iso(preparation.since),
      eta_s: secondsOrNull(preparation.eta),
    },
    need: need && { basis: need.basis, total_mib: mib(need.totalBytes), peak_mib: mib(need.peakBytes) },
    last_failure: failure && {
      cause: failure.cause,
      message: failure.message,
      at: times.iso(failure.at),
      retry_at: times.isoOrNull(failure.retryAt),
    },
  };
}

function replicaStatus(replica: ReplicaSnapshot, times: WallTimes): ReplicaStatus {
  return {
    model: replica.model,
    generation: replica.generation,
    state: replica.state,
    phase: replica.phase,
    progress: replica.progress,
    eta_s: secondsOrNull(replica.eta),
    devices: [...replica.devices],
    reserved_mib: mib(replica.reservedBytes),
    memory: memoryOf(replica),
    measured: replica.measured,
    leases: replica.leases,
    pid: replica.pid,
    container: replica.container,
    adopted: replica.adopted,
    stop_reason: replica.stopReason,
    started_at: times.isoOrNull(replica.launchedAt),
    ready_at: times.isoOrNull(replica.readyAt),
  };
}

function memoryOf({ devices, steady, peak }: ReplicaSnapshot): ReplicaStatus['memory'] {
  return Object.fromEntries(
    devices.map((device) => {
      const bytes = steady[device] ?? 0;
      return [device, { steady_mib: mib(bytes), peak_mib: mib(Math.max(bytes, peak[device] ?? 0)) }];
    }),
  );
}

const secondsOrNull = (span: Milliseconds | null): number | null => (span === null ? null : seconds(span));

function aliasesOf(name: string, { aliases }: Config): string[] {
  return [...aliases].flatMap(([alias, model]) => (model === name ? [alias] : []));
}

/** Nobody knows the bytes of devices that cannot be read: none are shown. */
function deviceStatus(device: DeviceSnapshot, fleet: FleetSnapshot, times: WallTimes): DeviceStatus {
  const shown = (bytes: number): number => (device.unmeasured ? 0 : mib(bytes));
  return {
    pool: device.pool,
    total_mib: shown(device.totalBytes),
    used_mib: shown(usedBytes(device, fleet)),
    reserved_mib: shown(device.reservedBytes),
    foreign_mib: shown(device.foreignBytes),
    budget_mib: shown(device.budgetBytes),
    residents: [...device.residents],
    state: device.state,
    reason: device.quarantine ?? device.silent,
    gate:
      device.gateHolder === null
        ? null
        : { replica: device.gateHolder, for_s: seconds(fleet.at - (device.gateSince ?? fleet.at)) },
    observed_at: times.isoOrNull(device.observedAt),
  };
}

function footprintsOf(fleet: FleetSnapshot): StatusAnswer['footprints'] {
  const known = [...fleet.models.values()].flatMap(({ name, footprint }) =>
    footprint === null ? [] : [[name, footprintStatus(footprint)] as const],
  );
  return Object.fromEntries(known);
}

function footprintStatus(footprint: Footprint): FootprintStatus {
  const { signature, kvCacheBytes } = footprint;
  return {
    steady_mib: mib(footprint.steadyBytes),
    peak_mib: mib(footprint.peakBytes),
    kv_cache_mib: kvCacheBytes === null ? null : mib(kvCacheBytes),
    kv_cache_tokens: footprint.kvCacheTokens,
    gpu_memory_utilization: footprint.utilization,
    tensor_parallel: signature.tensorParallel,
    device_class: signature.deviceClass,
    image: signature.image,
    start_s: seconds(footprint.startTime),
    measured_at: new Date(footprint.measuredAt).toISOString(),
    source: footprint.source,
  };
}

function mapped<Value, Result>(
  values: ReadonlyMap<string, Value>,
  turn: (value: Value) => Result,
): Record<string, Result> {
  return Object.fromEntries([...values].map(([name, value]) => [name, turn(value)]));
}
