/** Gateways as whole processes before the same private daemon, one after the other, and what they leave of containers. */
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { callDocker } from './docker-call.ts';
import type { DockerFleet } from './docker-fleet.ts';
import { eventually } from './eventually.ts';
import { startGateway, type GatewayProcess } from './gateway-process.ts';

export interface FleetModel {
  readonly name: string;
  readonly mib: number;
  /** `FAKE_VLLM_…` without the prefix. */
  readonly knobs?: Readonly<Record<string, string | number>>;
  /** Further keys of the model. */
  readonly keys?: Readonly<Record<string, unknown>>;
}

export interface SeenContainer {
  readonly id: string;
  readonly name: string;
  readonly running: boolean;
  readonly startedAt: string;
  readonly labels: Readonly<Record<string, string>>;
}

const QUICK = { START_MS: 300, TTFT_MS: 5, TOKEN_MS: 2, TOKENS: 4, CONTROL: 1, VRAM_RELEASE_MS: 50 };
const SMALL = { WEIGHTS_MIB: 1_024, ACTIVATION_MIB: 128, CONTEXT_MIB: 64, GRAPHS_MIB: 64 };

export function fleetYaml(fleet: DockerFleet, models: readonly FleetModel[]): string {
  const entries = models.map(({ name, mib, knobs, keys }) => {
    const all = Object.entries({ ...fleet.knobs, ...QUICK, ...SMALL, ...knobs });
    const env = Object.fromEntries(all.map(([knob, value]) => [`FAKE_VLLM_${knob}`, String(value)]));
    const model = {
      ...{ repo: `org/${name}`, memory: `${mib}MiB`, volumes: [fleet.volume] },
      ...{ env: { ...env, PRETENDED_MODEL: name }, ...keys },
    };
    return `  ${name}: ${JSON.stringify(model)}`;
  });
  return [
    fleet.yaml,
    'limits: { min_residency: 0, max_turn: 1s }',
    'defaults: { max_num_seqs: 64, stop_timeout: 6s }',
    'models:',
    ...entries,
  ].join('\n');
}

export interface GatewayRun {
  readonly models: readonly FleetModel[];
  /** Of the gateway before: what it left is found. */
  readonly folder?: string;
  /** Lines under `server:`, indented by two. */
  readonly server?: string;
  /** `drivers.docker.reach`. */
  readonly reach?: string;
}

export function startFleetGateway(
  fleet: DockerFleet,
  { models, folder, server, reach = 'auto' }: GatewayRun,
): Promise<GatewayProcess> {
  return startGateway({
    yaml: fleetYaml(fleet, models).replace('gpus: nvidia', `gpus: nvidia, reach: ${reach}`),
    env: { ...fleet.env, HF_HUB_OFFLINE: '1' },
    ...(folder === undefined ? {} : { folder }),
    ...(server === undefined ? {} : { server }),
  });
}

export async function statusOf(gateway: GatewayProcess): Promise<StatusAnswer> {
  return (await (await fetch(`${gateway.url}/gateway/status`)).json()) as StatusAnswer;
}

/** Resolves when each of them is ready. */
export async function untilReady(gateway: GatewayProcess, models: readonly string[], limitMs?: number): Promise<void> {
  await eventually(
    `${models.join(', ')} are ready`,
    async () => {
      const { models: seen } = await statusOf(gateway);
      return models.every((model) => seen[model]?.state === 'ready');
    },
    limitMs,
  );
}

/** `ready` and why not, as `/readyz` says it. */
export async function readiness(
  gateway: GatewayProcess,
): Promise<{ readonly status: number; readonly reasons: string }> {
  const answer = await fetch(`${gateway.url}/readyz`);
  const { reasons } = (await answer.json()) as { readonly reasons: readonly string[] };
  return { status: answer.status, reasons: reasons.join('\n') };
}

export async function post(gateway: GatewayProcess, path: string): Promise<number> {
  return (await fetch(`${gateway.url}/gateway/${path}`, { method: 'POST' })).status;
}

/** All of the daemon, in the order of their names. */
export async function seenContainers(socket: string): Promise<readonly SeenContainer[]> {
  const { text } = await callDocker(socket, 'GET', '/containers/json?all=1');
  const ids = (JSON.parse(text) as readonly { readonly Id: string }[]).map(({ Id }) => Id);
  const all = await Promise.all(ids.map((id) => callDocker(socket, 'GET', `/containers/${id}/json`)));
  return all
    .filter(({ status }) => status === 200)
    .map(({ text: facts }) => {
      const { Id, Name, State, Config } = JSON.parse(facts) as {
        readonly Id: string;
        readonly Name: string;
        readonly State: { readonly Running: boolean; readonly StartedAt: string };
        readonly Config: { readonly Labels: Record<string, string> | null };
      };
      return {
        ...{ id: Id, name: Name.slice(1), running: State.Running, startedAt: State.StartedAt },
        labels: Config.Labels ?? {},
      };
    })
    .toSorted((left, right) => left.name.localeCompare(right.name));
}

/** Those that carry the id of this gateway. */
export async function ownContainers(socket: string, gatewayId: string | null): Promise<readonly SeenContainer[]> {
  return (await seenContainers(socket)).filter(({ labels }) => labels['vllm-gateway.id'] === gatewayId);
}

export async function removeContainers(socket: string, containers: readonly { readonly id: string }[]): Promise<void> {
  await Promise.all(containers.map(({ id }) => callDocker(socket, 'DELETE', `/containers/${id}?force=1&v=1`)));
}
