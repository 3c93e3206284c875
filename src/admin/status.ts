/** `GET /gateway/status`: one snapshot, told in the interface's words. */
import type { DeviceSnapshot, FleetSnapshot, ModelSnapshot, ReplicaSnapshot } from '../core/snapshot.ts';
import type { DeviceStatus, ModelStatus, ReplicaStatus, StatusAnswer } from './contract.ts';
import { originalFields } from './original-status.ts';
import { mib, seconds, usedBytes, wallTimes } from './status-facts.ts';
import type { StatusFacts, WallTimes } from './status-facts.ts';

export function statusAnswerOf(facts: StatusFacts): StatusAnswer {
  const { fleet, config } = facts;
  const times = wallTimes(facts);
  return {
    gateway: {
      id: facts.gateway.id,
      version: facts.gateway.version,
      started_at: times.iso(facts.gateway.startedAt),
      uptime_s: seconds(fleet.at - facts.gateway.startedAt),
      state: stateOf(facts),
    },
    config: { source: config.source, problems: config.problems.map((problem) => ({ ...problem })) },
    limits: limitsOf(facts),
    devices: mapped(fleet.devices, (device) => deviceStatus(device, fleet)),
    models: mapped(fleet.models, (model) => modelStatus(model, times)),
    replicas: mapped(fleet.replicas, (replica) => replicaStatus(replica, facts, times)),
    footprints: {},
    ...originalFields(facts, times),
  };
}

function stateOf({ fleet, health }: StatusFacts): StatusAnswer['gateway']['state'] {
  if (fleet.shuttingDown) return 'draining';
  if (!health.ready) return 'not_ready';
  return health.reasons.length > 0 ? 'degraded' : 'ready';
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

function modelStatus(model: ModelSnapshot, times: WallTimes): ModelStatus {
  const failure = model.lastFailure;
  return {
    state: model.state,
    driver: model.driver,
    replicas: [...model.replicas],
    queued: model.queued,
    in_flight: model.inFlight,
    waiting_for: model.waitingFor,
    max_concurrent: model.maxConcurrent,
    max_queue_size: model.maxQueueSize,
    last_used_at: times.isoOrNull(model.lastUsedAt),
    pinned_by: model.pinnedBy,
    last_failure: failure && {
      cause: failure.cause,
      message: failure.message,
      at: times.iso(failure.at),
      retry_at: times.isoOrNull(failure.retryAt),
    },
  };
}

function replicaStatus(replica: ReplicaSnapshot, facts: StatusFacts, times: WallTimes): ReplicaStatus {
  return {
    model: replica.model,
    generation: replica.generation,
    state: replica.state,
    phase: replica.phase,
    progress: replica.progress,
    eta_s: etaOf(replica, facts),
    devices: [...replica.devices],
    reserved_mib: mib(replica.reservedBytes),
    leases: replica.leases,
    pid: replica.pid,
    container: replica.container,
    adopted: replica.adopted,
    stop_reason: replica.stopReason,
    started_at: times.isoOrNull(replica.launchedAt),
    ready_at: times.isoOrNull(replica.readyAt),
  };
}

/** From earlier starts of the model; the phases differ too much in length for the fraction of one to say more. */
function etaOf(replica: ReplicaSnapshot, { fleet, meanStart }: StatusFacts): number | null {
  if (replica.state !== 'starting' && replica.state !== 'reserved') return null;
  const mean = meanStart(replica.model);
  if (mean === undefined) return null;
  const elapsed = replica.launchedAt === null ? 0 : fleet.at - replica.launchedAt;
  return seconds(Math.max(0, mean - elapsed));
}

function deviceStatus(device: DeviceSnapshot, fleet: FleetSnapshot): DeviceStatus {
  return {
    pool: device.pool,
    total_mib: mib(device.totalBytes),
    used_mib: mib(usedBytes(device, fleet)),
    reserved_mib: mib(device.reservedBytes),
    budget_mib: mib(device.budgetBytes),
    residents: [...device.residents],
    state: device.state,
    observed_at: null,
  };
}

function mapped<Value, Result>(
  values: ReadonlyMap<string, Value>,
  turn: (value: Value) => Result,
): Record<string, Result> {
  return Object.fromEntries([...values].map(([name, value]) => [name, turn(value)]));
}
