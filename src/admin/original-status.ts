/** The status fields of the original gateway, from the same snapshot. Times are epoch seconds, sizes MiB. */
import type { Config, ModelConfig } from '../config/config.ts';
import type { Footprint } from '../core/memory/footprint.ts';
import type { DeviceSnapshot, FleetSnapshot, ReplicaSnapshot } from '../core/snapshot.ts';
import { SECOND } from '../units.ts';
import type { OriginalStatus } from './contract.ts';
import { bytesPerDevice, isComing, mib, seconds, usedBytes } from './status-facts.ts';
import type { StatusFacts, WallTimes } from './status-facts.ts';

export function originalFields(facts: StatusFacts, times: WallTimes): OriginalStatus {
  const { fleet, config } = facts;
  const budgeted = config.memory.placementMode === 'budget';
  const devices = [...fleet.devices.values()].filter(({ unmeasured }) => !unmeasured);
  return {
    total_gpu_vram_mib: mib(devices.reduce((total, device) => total + device.totalBytes, 0)),
    placement_mode: config.memory.placementMode,
    gpu_budget_fraction: budgeted ? config.devices.budgetFraction : null,
    pools: Object.fromEntries([...config.pools].map(([name, members]) => [name, [...members]])),
    gpus: Object.fromEntries(devices.map((device) => [deviceName(device), gpuOf(device, fleet, budgeted)])),
    known_footprints_mib: Object.fromEntries(
      [...fleet.models.values()].flatMap(({ name, footprint }) =>
        footprint === null ? [] : [[name, footprintOf(footprint, config, config.models.get(name))]],
      ),
    ),
    active_containers: Object.fromEntries(
      [...fleet.replicas.values()].map((replica) => {
        const container = containerOf(replica, facts, times);
        return [container.container_name, container];
      }),
    ),
    queue_status: Object.fromEntries(
      [...fleet.models.values()].map((model) => [
        model.name,
        { queue_depth: model.queued, max_concurrent: model.maxConcurrent, max_queue_size: model.maxQueueSize },
      ]),
    ),
  };
}

/** The original knew devices by uuid. */
function deviceName(device: DeviceSnapshot): string {
  return device.uuid ?? device.id;
}

function gpuOf(device: DeviceSnapshot, fleet: FleetSnapshot, budgeted: boolean): OriginalStatus['gpus'][string] {
  const residents = device.residents.flatMap((id) => fleet.replicas.get(id) ?? []);
  const coming = residents.filter(isComing).reduce((total, replica) => total + bytesPerDevice(replica), 0);
  return {
    pool: device.pool,
    total_mib: mib(device.totalBytes),
    used_mib: mib(usedBytes(device, fleet)),
    reserved_mib: mib(coming),
    budget_mib: budgeted ? mib(device.budgetBytes) : null,
    residents: [...new Set(residents.map((replica) => replica.model))],
  };
}

/** In the original's words; the signature is what the model is configured with now. */
function footprintOf(
  footprint: Footprint,
  config: Config,
  model: ModelConfig | undefined,
): OriginalStatus['known_footprints_mib'][string] {
  const effectiveTp = Math.max(1, footprint.signature.tensorParallel);
  const budgeted = config.memory.placementMode === 'budget';
  return {
    per_gpu_mib: mib(footprint.steadyBytes),
    effective_tp: effectiveTp,
    effective_util: footprint.utilization ?? model?.gpuMemoryUtilization ?? 0,
    measured_at: footprint.measuredAt / SECOND,
    signature: {
      mode: config.memory.placementMode,
      max_model_len: model?.maxModelLen ?? 0,
      kv_seqs: model?.kvReservationSeqs ?? model?.maxNumSeqs ?? 0,
      effective_tp: effectiveTp,
      util_basis: budgeted ? config.devices.budgetFraction : (model?.gpuMemoryUtilization ?? 0),
    },
  };
}

function containerOf(
  replica: ReplicaSnapshot,
  { fleet, config, privileged }: StatusFacts,
  times: WallTimes,
): OriginalStatus['active_containers'][string] {
  const model = config.models.get(replica.model);
  const address = privileged ? addressOf(replica.origin) : null;
  const lastUsed = fleet.models.get(replica.model)?.lastUsedAt ?? replica.createdAt;
  return {
    model_id: replica.model,
    container_name: replica.container ?? replica.id,
    status: isComing(replica) ? 'LOADING' : replica.state === 'ready' ? 'READY' : 'STOPPING',
    gpu_uuids: replica.devices.map((id) => fleet.devices.get(id)?.uuid ?? id),
    reserved_mib: mib(bytesPerDevice(replica)),
    effective_tp: Math.max(1, replica.share.tensorParallel, replica.devices.length),
    effective_util: utilisationOf(replica, fleet, model),
    colocate: model?.colocate ?? false,
    always_on: model?.alwaysOn ?? false,
    inactivity_timeout: seconds(model?.inactivityTimeout ?? 0),
    created_at: times.epoch(replica.createdAt),
    ip_address: address?.hostname ?? null,
    port: address ? portOf(address) : null,
    vram_footprint: isComing(replica) ? 0 : mib(bytesPerDevice(replica)),
    last_request_time: times.epoch(Math.max(lastUsed, replica.createdAt)),
    active_requests: replica.leases,
    loaded_at: replica.readyAt === null ? null : times.epoch(replica.readyAt),
  };
}

/** What the engine is told; where it is told nothing, what it may take of its first device, to four decimals. */
function utilisationOf(replica: ReplicaSnapshot, fleet: FleetSnapshot, model: ModelConfig | undefined): number {
  if (replica.share.utilization !== null) return replica.share.utilization;
  const total = fleet.devices.get(replica.devices[0] ?? '')?.totalBytes;
  const share = total ? bytesPerDevice(replica) / total : (model?.gpuMemoryUtilization ?? 0);
  return Math.round(share * 10_000) / 10_000;
}

function addressOf(origin: string | null): URL | null {
  return origin !== null && URL.canParse(origin) ? new URL(origin) : null;
}

function portOf(address: URL): number {
  if (address.port !== '') return Number(address.port);
  return address.protocol === 'https:' ? 443 : 80;
}
