/**
 * What the control plane answers, as schemas: the command line reads answers with them, and a test holds the live
 * answers against them. Fields may be added; they are never renamed or removed within a major version.
 * `*_at` are ISO 8601 in UTC, `*_s` seconds, `*_mib` MiB; the original's fields keep its epoch seconds.
 */
import { z } from 'zod';

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

const configProblem = z.object({
  severity: z.enum(['error', 'warning', 'info']),
  source: z.string(),
  line: z.number().int().nullable(),
  column: z.number().int().nullable(),
  path: z.string(),
  code: z.string(),
  message: z.string(),
});

const modelStatus = z.object({
  state: z.enum(['cold', 'starting', 'ready', 'draining', 'asleep', 'failed']),
  driver: z.string(),
  replicas: z.array(z.string()),
  queued: z.number().int(),
  in_flight: z.number().int(),
  waiting_for: z.string().nullable(),
  max_concurrent: z.number().int(),
  max_queue_size: z.number().int(),
  last_used_at: moment.nullable(),
  pinned_by: z.enum(['config', 'operator']).nullable(),
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
  /** Only while it starts, and only once this model has started before or tells its progress. */
  eta_s: z.number().nullable(),
  devices: z.array(z.string()),
  /** On all of its devices together. */
  reserved_mib: mib,
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
  /** Held by engines that are up, and by others. */
  used_mib: mib,
  /** Promised to engines, up or coming. */
  reserved_mib: mib,
  budget_mib: mib,
  /** Replica ids. */
  residents: z.array(z.string()),
  state: z.enum(['free', 'busy', 'quarantined', 'stale']),
  /** When a probe last read it; null = its size is declared. */
  observed_at: moment.nullable(),
});
export type DeviceStatus = z.infer<typeof deviceStatus>;

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
  known_footprints_mib: z.record(z.string(), z.unknown()),
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
  }),
  config: z.object({ source: z.string().nullable(), problems: z.array(configProblem) }),
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
  footprints: z.record(z.string(), z.unknown()),
  ...originalStatus.shape,
});
export type StatusAnswer = z.infer<typeof statusAnswer>;

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
