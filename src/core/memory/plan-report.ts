/** What would go where if it were asked for now, and why: `vllm-gateway plan` and `GET /gateway/plan`, as they print it. */
import type { Bytes, Milliseconds } from '../../units.ts';
import { formatDuration, SECOND } from '../../units.ts';
import { currentOf } from '../run.ts';
import type { Device, FleetState, Model, Replica } from '../state.ts';
import { explainPlan, whyItWaits } from './explain.ts';
import { booksOf, holderOf, type Books, type Holder, type OpenBook } from './books.ts';
import { capacity, isSilent } from './ledger.ts';
import { isWholeCard, needOn, type Need, type NeedBasis } from './need.ts';
import { planIdle, type Plan } from './plan.ts';

export interface PlanReport {
  readonly placement_mode: 'budget' | 'whole_card';
  readonly eviction: 'lru' | 'value';
  readonly devices: Readonly<Record<string, PlannedDevice>>;
  readonly models: Readonly<Record<string, PlannedModel>>;
}

export interface PlannedDevice {
  readonly pool: string | null;
  readonly uuid: string | null;
  readonly total_bytes: Bytes;
  /** Null in whole_card mode: nothing but the device bounds it there. */
  readonly budget_bytes: Bytes | null;
  readonly foreign_bytes: Bytes;
  /** What engines that were launched may hold now. */
  readonly held_bytes: Bytes;
  /** What is promised once all that is leaving has left. */
  readonly promised_bytes: Bytes;
  readonly free_bytes: Bytes;
  readonly residents: readonly PlannedHolder[];
  readonly state: 'ok' | 'unmeasured' | 'silent' | 'quarantined';
  /** Why no start may begin here. */
  readonly reason: string | null;
}

export interface PlannedHolder {
  readonly replica: string;
  readonly model: string;
  readonly bytes: Bytes;
  readonly why: Holder['why'];
  readonly in_flight: number;
}

export interface PlannedModel {
  /** It has a place, or would get one now. */
  readonly fits: boolean;
  /** `placed`: it has one; `fits`; `waits`: for others to leave; `never`: not even on empty devices; `refused`: neither. */
  readonly outcome: 'placed' | 'fits' | 'waits' | 'refused' | 'never';
  readonly devices: readonly string[];
  /** On each of its devices (the largest). Null: it takes no device memory. */
  readonly need: PlannedNeed | null;
  readonly basis: NeedBasis | null;
  readonly tensor_parallel: number;
  /** What its engine would be told; null = as configured. */
  readonly gpu_memory_utilization: number | null;
  /** Replicas that would leave. */
  readonly evicts: readonly string[];
  readonly missing_bytes: Bytes;
  readonly holders: readonly (PlannedHolder & { readonly device: string | null })[];
  readonly reason: string;
  /** Where the numbers are from, one sentence each. */
  readonly notes: readonly string[];
}

/** Parts are null where only the whole is known. */
export interface PlannedNeed {
  readonly weights_bytes: Bytes | null;
  readonly kv_bytes: Bytes | null;
  readonly activation_bytes: Bytes | null;
  readonly overhead_bytes: Bytes | null;
  readonly total_bytes: Bytes;
  readonly peak_bytes: Bytes;
}

/** Of all models, or of one; an unknown name gives an empty list. */
export function planReport(state: FleetState, now: Milliseconds, only?: string): PlanReport {
  const books = booksOf(state);
  const models = [...state.models.values()].filter((model) => only === undefined || model.name === only);
  return {
    placement_mode: state.settings.memory.placementMode,
    eviction: state.settings.memory.eviction,
    devices: Object.fromEntries(
      [...state.devices.values()].map((device) => [device.id, plannedDevice(state, device, books.get(device.id))]),
    ),
    models: Object.fromEntries(models.map((model) => [model.name, plannedModel(state, model, now, books)])),
  };
}

function plannedDevice(state: FleetState, device: Device, book: OpenBook | undefined): PlannedDevice {
  const promised = book ? book.steady + book.excess : 0;
  return {
    pool: device.pool,
    uuid: device.uuid,
    total_bytes: device.totalBytes,
    budget_bytes: isWholeCard(state) ? null : device.budgetBytes,
    foreign_bytes: device.foreignBytes,
    held_bytes: book?.held ?? 0,
    promised_bytes: promised,
    free_bytes: Math.max(0, capacity(device) - promised),
    residents: (book?.residents ?? []).map((replica) => plannedHolder(holderOf(state, replica, device.id))),
    state: deviceState(device),
    reason: device.quarantine ?? device.silent,
  };
}

function deviceState(device: Device): PlannedDevice['state'] {
  if (device.quarantine !== null) return 'quarantined';
  if (device.unmeasured) return 'unmeasured';
  return isSilent(device) ? 'silent' : 'ok';
}

const plannedHolder = ({ replica, model, bytes, why, leases }: Holder): PlannedHolder => ({
  replica,
  model,
  bytes,
  why,
  in_flight: leases,
});

function plannedModel(state: FleetState, model: Model, now: Milliseconds, books: Books): PlannedModel {
  const replica = currentOf(state, model);
  if (replica) return placed(state, model, replica);
  const plan = planIdle(state, model, now, books);
  const waitsFor = whyItWaits(model);
  if (plan.kind === 'fits' && model.unplacedSince !== null && waitsFor !== null) {
    // Whatever fits is placed at once, unless an older one stands before it.
    const told = { ...fitting(state, model, plan), fits: false, outcome: 'waits' as const };
    return { ...told, evicts: [], reason: waitsFor, notes: notesOf(model) };
  }
  const told = plan.kind === 'fits' ? fitting(state, model, plan) : lacking(plan);
  return { ...told, reason: reasonOf(state, model, plan, now), notes: notesOf(model) };
}

type Told = Omit<PlannedModel, 'reason' | 'notes'>;

function fitting(state: FleetState, model: Model, plan: Extract<Plan, { kind: 'fits' }>): Told {
  const { reservations, peaks, share, victims } = plan;
  return {
    fits: true,
    outcome: 'fits',
    devices: [...reservations.keys()],
    ...needOf(state, model, reservations, peaks, share.tensorParallel),
    tensor_parallel: share.tensorParallel,
    gpu_memory_utilization: share.utilization,
    evicts: victims,
    missing_bytes: 0,
    holders: [],
  };
}

function lacking({ shortage, kind, ...rest }: Exclude<Plan, { kind: 'fits' }>): Told {
  const { need, deviceId } = shortage;
  const never = 'never' in rest && rest.never;
  return {
    fits: false,
    outcome: kind === 'wait' ? 'waits' : never ? 'never' : 'refused',
    devices: [],
    need: need && plannedNeed(need, need.totalBytes, need.peakBytes),
    basis: need?.basis ?? null,
    tensor_parallel: shortage.tensorParallel,
    gpu_memory_utilization: null,
    evicts: [],
    missing_bytes: shortage.missingBytes,
    holders: shortage.holders.map((holder) => ({ ...plannedHolder(holder), device: deviceId })),
  };
}

function placed(state: FleetState, model: Model, replica: Replica): PlannedModel {
  const { reservations, peaks, share, phase } = replica;
  const devices = [...reservations.keys()];
  const where = devices.length > 0 ? ` on ${devices.join(', ')}` : '';
  const { need, basis } = needOf(state, model, reservations, peaks, share.tensorParallel);
  return {
    fits: true,
    outcome: 'placed',
    devices,
    need,
    basis: replica.measured ? 'footprint' : basis,
    tensor_parallel: share.tensorParallel,
    gpu_memory_utilization: share.utilization,
    evicts: [],
    missing_bytes: 0,
    holders: [],
    reason: `Model '${model.name}' is ${phase}${where}.`,
    notes: notesOf(model),
  };
}

/** Where most is taken. The parts are told when they are what was reserved. */
function needOf(
  state: FleetState,
  model: Model,
  reservations: ReadonlyMap<string, Bytes>,
  peaks: ReadonlyMap<string, Bytes>,
  tensorParallel: number,
): Pick<PlannedModel, 'need' | 'basis'> {
  let largest: [string, Bytes] | undefined;
  for (const entry of reservations) if (!largest || entry[1] > largest[1]) largest = entry;
  const device = largest && state.devices.get(largest[0]);
  if (!largest || !device) return { need: null, basis: null };
  const [id, bytes] = largest;
  const need = needOn(state, model, device, tensorParallel);
  const known = need.totalBytes === bytes ? need : { ...need, parts: null };
  return { need: plannedNeed(known, bytes, Math.max(bytes, peaks.get(id) ?? 0)), basis: need.basis };
}

function plannedNeed({ parts }: Need, total: Bytes, peak: Bytes): PlannedNeed {
  return {
    weights_bytes: parts?.weightsBytes ?? null,
    kv_bytes: parts?.kvBytes ?? null,
    activation_bytes: parts?.activationBytes ?? null,
    overhead_bytes: parts?.overheadBytes ?? null,
    total_bytes: total,
    peak_bytes: peak,
  };
}

function reasonOf(state: FleetState, model: Model, plan: Plan, now: Milliseconds): string {
  if (model.settings.unstartable) {
    return `Model '${model.name}' cannot be started: ${model.settings.unstartable.message}`;
  }
  const { until } = model.backoff;
  if (until === null || until <= now) return explainPlan(state, model, plan);
  const rest = formatDuration(Math.ceil((until - now) / SECOND) * SECOND);
  return `${explainPlan(state, model, plan)} It rests for ${rest} after failed starts, and nobody leaves for it meanwhile.`;
}

function notesOf(model: Model): readonly string[] {
  const { size } = model;
  if (size === null) return model.settings.sizing === null ? [] : ['Its files have not been looked at yet.'];
  return size.kind === 'shape' ? size.shape.notes : [`Its size is unknown: ${size.reason}`];
}
