/**
 * What the control plane answers, as schemas: the command line reads answers with them, and a test holds the live
 * answers against them. Fields may be added; they are never renamed or removed within a major version.
 * `*_at` are ISO 8601 in UTC, `*_s` seconds, `*_mib` MiB; the original's fields keep its epoch seconds.
 */
import { z } from 'zod';
import { configStatus } from './config-contract.ts';

export { reloadAnswer, type ReloadAnswer } from './config-contract.ts';

const moment = z.iso.datetime();
const mib = z.number();

export const errorAnswer = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string(),
  }),
});
export type ErrorAnswer = z.infer<typeof errorAnswer>;

export const healthAnswer = z.object({ status: z.literal('ok') });

export const readyAnswer = z.object({ status: z.enum(['ready', 'not_ready']), reasons: z.array(z.string()) });
export type ReadyAnswer = z.infer<typeof readyAnswer>;

/** `discovery`: its share of the device, until it is measured. */
const needBasis = z.enum(['declared', 'footprint', 'estimate', 'discovery']);

const modelStatus = z.object({
  state: z.enum(['cold', 'starting', 'ready', 'draining', 'asleep', 'failed']),
  driver: z.string(),
  /** Other names that clients may ask for. */
  aliases: z.array(z.string()),
  replicas: z.array(z.string()),
  queued: z.number().int(),
  in_flight: z.number().int(),
  waiting_for: z.string().nullable(),
  max_concurrent: z.number().int(),
  max_queue_size: z.number().int(),
  last_used_at: moment.nullable(),
  pinned_by: z.enum(['config', 'operator']).nullable(),
  /** Before a start may take memory: `metadata`, `image` or `weights` are being fetched. */
  preparation: z
    .object({
      phase: z.string(),
      /** In [0, 1]. */
      progress: z.number().nullable(),
      since: moment,
      /** Until it is ready to answer; where nobody knows that, as before a first start, until the present phase is over. */
      eta_s: z.number().nullable(),
    })
    .nullable(),
  /** On each of its devices; null when it takes no device memory. */
  need: z.object({ basis: needBasis, total_mib: mib, peak_mib: mib }).nullable(),
  last_failure: z
    .object({ cause: z.string(), message: z.string(), at: moment, retry_at: moment.nullable() })
    .nullable(),
});
export type ModelStatus = z.infer<typeof modelStatus>;

const replicaStatus = z.object({
  model: z.string(),
  generation: z.number().int(),
  state: z.enum(['reserved', 'starting', 'ready', 'draining', 'stopping', 'zombie']),
  phase: z.string().nullable(),
  /** Of the present phase, in [0, 1]. */
  progress: z.number().nullable(),
  /**
   * Until it is ready to answer, by what its earlier starts took; null = nobody knows, as on the first start of a launch
   * line. What is late is taken to need as long again as it is late, and once it is late by a whole start it is null.
   */
  eta_s: z.number().nullable(),
  devices: z.array(z.string()),
  /** On all of its devices together. */
  reserved_mib: mib,
  /** By device: what it takes once ready, and between launch and ready. */
  memory: z.record(z.string(), z.object({ steady_mib: mib, peak_mib: mib })),
  /** The reservation is what was seen, not what was thought. */
  measured: z.boolean(),
  leases: z.number().int(),
  pid: z.number().int().nullable(),
  container: z.string().nullable(),
  adopted: z.boolean(),
  stop_reason: z.string().nullable(),
  started_at: moment.nullable(),
  ready_at: moment.nullable(),
});
export type ReplicaStatus = z.infer<typeof replicaStatus>;

const deviceStatus = z.object({
  pool: z.string().nullable(),
  total_mib: mib,
  /** As last read, whoever holds it; of a device that is only declared, what engines that are up and others hold. */
  used_mib: mib,
  /** Promised to engines, up or coming. */
  reserved_mib: mib,
  /** Of others than the gateway's engines. */
  foreign_mib: mib,
  budget_mib: mib,
  /** Replica ids. */
  residents: z.array(z.string()),
  /** `busy`: an engine is changing its memory; `stale`: it cannot be read; nothing is started on it meanwhile. */
  state: z.enum(['free', 'busy', 'quarantined', 'stale']),
  /** Why it is quarantined or stale. */
  reason: z.string().nullable(),
  /** The replica that is changing its memory, and for how long. */
  gate: z.object({ replica: z.string(), for_s: z.number() }).nullable(),
  /** When a probe last read it; null = its size is declared. */
  observed_at: moment.nullable(),
});
export type DeviceStatus = z.infer<typeof deviceStatus>;

/** What a model was seen to take on each of its devices. */
const footprintStatus = z.object({
  steady_mib: mib,
  peak_mib: mib,
  kv_cache_mib: mib.nullable(),
  kv_cache_tokens: z.number().int().nullable(),
  /** What the engine was told then. */
  gpu_memory_utilization: z.number().nullable(),
  tensor_parallel: z.number().int(),
  device_class: z.string(),
  /** Digest. */
  image: z.string().nullable(),
  /** From launch to ready. */
  start_s: z.number(),
  measured_at: moment,
  source: z.enum(['process', 'device', 'engine']),
});
export type FootprintStatus = z.infer<typeof footprintStatus>;

/** Fields of the original gateway, so that scripts written for it go on working. */
export const originalStatus = z.object({
  total_gpu_vram_mib: mib,
  placement_mode: z.enum(['budget', 'whole_card']),
  gpu_budget_fraction: z.number().nullable(),
  pools: z.record(z.string(), z.array(z.string())),
  gpus: z.record(
    z.string(),
    z.object({
      pool: z.string().nullable(),
      total_mib: mib,
      used_mib: mib,
      /** Of engines that are still loading. */
      reserved_mib: mib,
      budget_mib: mib.nullable(),
      /** Model names. */
      residents: z.array(z.string()),
    }),
  ),
  known_footprints_mib: z.record(
    z.string(),
    z.object({
      per_gpu_mib: mib,
      effective_tp: z.number().int(),
      effective_util: z.number(),
      measured_at: z.number(),
      signature: z.object({
        mode: z.string(),
        max_model_len: z.number().int(),
        kv_seqs: z.number().int(),
        effective_tp: z.number().int(),
        util_basis: z.number(),
      }),
    }),
  ),
  active_containers: z.record(
    z.string(),
    z.object({
      model_id: z.string(),
      container_name: z.string(),
      status: z.enum(['LOADING', 'READY', 'STOPPING']),
      gpu_uuids: z.array(z.string()),
      /** Per device. */
      reserved_mib: mib,
      effective_tp: z.number().int(),
      effective_util: z.number(),
      colocate: z.boolean(),
      always_on: z.boolean(),
      inactivity_timeout: z.number(),
      created_at: z.number(),
      /** Null for callers without the role admin. */
      ip_address: z.string().nullable(),
      port: z.number().int().nullable(),
      vram_footprint: mib,
      last_request_time: z.number(),
      active_requests: z.number().int(),
      loaded_at: z.number().nullable(),
    }),
  ),
  queue_status: z.record(
    z.string(),
    z.object({
      queue_depth: z.number().int(),
      max_concurrent: z.number().int(),
      max_queue_size: z.number().int(),
    }),
  ),
});
export type OriginalStatus = z.infer<typeof originalStatus>;

export const gatewayState = z.enum(['ready', 'degraded', 'not_ready', 'draining']);

export const statusAnswer = z.object({
  gateway: z.object({
    id: z.string(),
    version: z.string(),
    started_at: moment,
    uptime_s: z.number(),
    state: gatewayState,
    /** Processes of the data plane beside this one; null = none, it is in this one. */
    workers: z
      .object({
        configured: z.number().int(),
        running: z.array(z.object({ pid: z.number().int(), connections: z.number().int() })).readonly(),
        /** Since the start: those that ended and were started anew. */
        exits: z.number().int(),
      })
      .nullable(),
  }),
  config: configStatus,
  limits: z.object({
    max_queue_size: z.number().int(),
    max_concurrent: z.number().int(),
    max_models_concurrent: z.number().int(),
    max_in_flight: z.number().int(),
    http_pool_size: z.number().int(),
    http_keepalive_size: z.number().int(),
    queue_timeout_s: z.number(),
    buffered_bytes: z.number(),
    max_buffered_bytes: z.number(),
  }),
  devices: z.record(z.string(), deviceStatus),
  models: z.record(z.string(), modelStatus),
  replicas: z.record(z.string(), replicaStatus),
  /** The newest of each model that has run, whether it still applies or not. */
  footprints: z.record(z.string(), footprintStatus),
  ...originalStatus.shape,
});
export type StatusAnswer = z.infer<typeof statusAnswer>;

const plannedHolder = z.object({
  replica: z.string(),
  model: z.string(),
  bytes: z.number(),
  why: z.enum(['pinned', 'busy', 'starting', 'leaving', 'idle', 'stuck']),
  in_flight: z.number().int(),
});

const plannedDevice = z.object({
  pool: z.string().nullable(),
  uuid: z.string().nullable(),
  total_bytes: z.number(),
  /** Null in whole_card mode. */
  budget_bytes: z.number().nullable(),
  foreign_bytes: z.number(),
  /** What engines that were launched may hold now. */
  held_bytes: z.number(),
  /** What is promised once all that is leaving has left. */
  promised_bytes: z.number(),
  free_bytes: z.number(),
  residents: z.array(plannedHolder).readonly(),
  state: z.enum(['ok', 'unmeasured', 'silent', 'quarantined']),
  reason: z.string().nullable(),
});
export type PlannedDevice = z.infer<typeof plannedDevice>;

const plannedModel = z.object({
  /** It has a place, or would get one now. */
  fits: z.boolean(),
  outcome: z.enum(['placed', 'fits', 'waits', 'refused', 'never']),
  devices: z.array(z.string()).readonly(),
  /** On each of its devices; parts are null where only the whole is known. */
  need: z
    .object({
      weights_bytes: z.number().nullable(),
      kv_bytes: z.number().nullable(),
      activation_bytes: z.number().nullable(),
      overhead_bytes: z.number().nullable(),
      total_bytes: z.number(),
      peak_bytes: z.number(),
    })
    .nullable(),
  basis: needBasis.nullable(),
  tensor_parallel: z.number().int(),
  gpu_memory_utilization: z.number().nullable(),
  /** Replica ids. */
  evicts: z.array(z.string()).readonly(),
  missing_bytes: z.number(),
  holders: z.array(plannedHolder.extend({ device: z.string().nullable() })).readonly(),
  reason: z.string(),
  notes: z.array(z.string()).readonly(),
});
export type PlannedModel = z.infer<typeof plannedModel>;

/** `GET /gateway/plan`, and `plan --json` of the command line. */
export const planAnswer = z.object({
  placement_mode: z.enum(['budget', 'whole_card']),
  eviction: z.enum(['lru', 'value']),
  devices: z.record(z.string(), plannedDevice),
  models: z.record(z.string(), plannedModel),
});
export type PlanAnswer = z.infer<typeof planAnswer>;

/** Data of a `decision` event; `snapshot` carries a StatusAnswer. */
export const decisionEvent = z.object({
  seq: z.number().int(),
  at: moment,
  kind: z.string(),
  model: z.string().nullable(),
  replica: z.string().nullable(),
  reason: z.string(),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});
export type DecisionEvent = z.infer<typeof decisionEvent>;

/** Data of an `activity` event, which only a stream with `snapshots` has: sums since the gateway started, by model. */
export const activityEvent = z.object({
  at: moment,
  models: z.record(
    z.string(),
    z.object({
      requests: z.number().int(),
      /** Of the requests: ended in another way than `completed`. */
      unfinished: z.number().int(),
      first_bytes: z.number().int(),
      first_byte_s: z.number(),
      prompt_tokens: z.number().int(),
      completion_tokens: z.number().int(),
    }),
  ),
});
export type ActivityEvent = z.infer<typeof activityEvent>;

/** Data of the `viewer` event, the first of a stream with `snapshots`: what the one who listens may do besides. */
export const viewerEvent = z.object({ admin: z.boolean(), inference: z.boolean() });
export type ViewerEvent = z.infer<typeof viewerEvent>;

export const requestAnswer = z.object({
  id: z.string(),
  key_id: z.string(),
  method: z.string(),
  route: z.string(),
  model: z.string(),
  stream: z.boolean(),
  /** 0 = the client was gone before any was sent. */
  status: z.number().int(),
  outcome: z.string(),
  code: z.string().nullable(),
  replica: z.string().nullable(),
  started_at: moment,
  duration_ms: z.number(),
  first_byte_ms: z.number().nullable(),
  queue_ms: z.number(),
  cold_start_ms: z.number(),
  added_ms: z.number().nullable(),
  attempts: z.number().int(),
  bytes_in: z.number(),
  bytes_out: z.number(),
  prompt_tokens: z.number().nullable(),
  completion_tokens: z.number().nullable(),
});
export type RequestAnswer = z.infer<typeof requestAnswer>;

export const COMMANDS = ['load', 'unload', 'pin', 'unpin'] as const;
export type Command = (typeof COMMANDS)[number];

export const commandAnswer = z.object({
  model: z.string(),
  command: z.enum(COMMANDS),
  /** The model's state after the decision; with `?wait=true` after its effect. */
  state: z.string(),
  done: z.boolean(),
});
export type CommandAnswer = z.infer<typeof commandAnswer>;
