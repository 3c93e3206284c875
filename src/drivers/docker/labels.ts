/** What a container says of itself, so that the next gateway finds and knows it. No secret is ever a label. */
import type { ReplicaRef } from '../../core/state.ts';
import type { Bytes } from '../../units.ts';
import type { ReplicaIdentity } from '../driver.ts';

export const LABELS = {
  gateway: 'vllm-gateway.id',
  role: 'vllm-gateway.role',
  replica: 'vllm-gateway.replica',
  generation: 'vllm-gateway.generation',
  model: 'vllm-gateway.model',
  spec: 'vllm-gateway.spec',
  reservations: 'vllm-gateway.reservations',
  port: 'vllm-gateway.port',
  created: 'vllm-gateway.created',
} as const;

export const MANAGED: Readonly<Record<string, string>> = { 'vllm-gateway.managed': 'true' };

type Labels = Readonly<Record<string, string>>;

export interface LabelledReplica extends ReplicaRef {
  readonly model: string;
  readonly specHash: string;
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly port: number | null;
  /** Wall clock; null when it cannot be read. */
  readonly createdAt: number | null;
}

/** What `docker ps --filter label=…` and our own lists go by: nothing else is ours. */
export function ofGateway(gatewayId: string): string {
  return `${LABELS.gateway}=${gatewayId}`;
}

export function replicaLabels(
  gatewayId: string,
  identity: ReplicaIdentity,
  more: { readonly port: number | null; readonly now: number },
): Record<string, string> {
  return {
    [LABELS.gateway]: gatewayId,
    [LABELS.role]: 'replica',
    [LABELS.replica]: identity.id,
    [LABELS.generation]: String(identity.generation),
    [LABELS.model]: identity.model,
    [LABELS.spec]: identity.specHash,
    [LABELS.reservations]: JSON.stringify([...identity.reservations]),
    [LABELS.port]: more.port === null ? '' : String(more.port),
    [LABELS.created]: String(more.now),
  };
}

export function fetchLabels(gatewayId: string): Record<string, string> {
  return { [LABELS.gateway]: gatewayId, [LABELS.role]: 'fetch' };
}

export function isOfGateway(labels: Labels, gatewayId: string): boolean {
  return labels[LABELS.gateway] === gatewayId;
}

export function isFetch(labels: Labels): boolean {
  return labels[LABELS.role] === 'fetch';
}

/** Undefined when the labels are not those of a replica, or somebody has written over them. */
export function readReplica(labels: Labels): LabelledReplica | undefined {
  const id = labels[LABELS.replica];
  const model = labels[LABELS.model];
  const specHash = labels[LABELS.spec];
  const generation = wholeNumber(labels[LABELS.generation]);
  const reservations = readReservations(labels[LABELS.reservations]);
  if (labels[LABELS.role] !== 'replica' || !id || model === undefined || specHash === undefined) return undefined;
  if (generation === null || reservations === undefined) return undefined;
  const port = wholeNumber(labels[LABELS.port]);
  return { id, generation, model, specHash, reservations, port, createdAt: wholeNumber(labels[LABELS.created]) };
}

function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function readReservations(text: string | undefined): ReadonlyMap<string, Bytes> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
  if (!Array.isArray(value)) return undefined;
  const pairs = value.filter(
    (pair: unknown): pair is [string, number] =>
      Array.isArray(pair) && pair.length === 2 && typeof pair[0] === 'string' && Number.isFinite(pair[1]),
  );
  return pairs.length === value.length ? new Map(pairs) : undefined;
}
