/** What an inspected container says of itself as a replica. */
import type { FoundReplica } from '../../core/events.ts';
import type { Endpoint, ReplicaRef } from '../../core/state.ts';
import type { ExitReport } from '../driver.ts';
import type { ContainerFacts } from './client.ts';
import { readReplica, type LabelledReplica } from './labels.ts';
import type { Surroundings } from './surroundings.ts';

/** Nothing listens there: an engine that ended before its port could be read. */
export const NOWHERE = 'http://127.0.0.1:0';
const SHELL_SIGNAL_BASE = 128;

const SIGNALS: Readonly<Record<number, string>> = {
  ...{ 1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 4: 'SIGILL', 5: 'SIGTRAP', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE' },
  ...{ 9: 'SIGKILL', 11: 'SIGSEGV', 13: 'SIGPIPE', 15: 'SIGTERM', 24: 'SIGXCPU', 25: 'SIGXFSZ', 31: 'SIGSYS' },
};

export interface FoundContainer {
  readonly container: string;
  readonly labels: LabelledReplica;
  readonly facts: ContainerFacts;
}

export function asReplica(facts: ContainerFacts): FoundContainer | undefined {
  const labels = readReplica(facts.Config.Labels ?? {});
  return labels === undefined ? undefined : { container: facts.Id, labels, facts };
}

/** Running, paused or about to: what holds memory. A container that was only made, or is over, holds none. */
export function isAlive({ State }: ContainerFacts): boolean {
  return State.Running || State.Paused || State.Restarting;
}

/**
 * How it is reached now: addresses and published ports are other ones after every start.
 * `name` of the network wins, then the loopback port, then the address.
 */
export function endpointOf(facts: ContainerFacts, port: number): Endpoint {
  // People know it by its name, and so does `docker logs`.
  return { origin: originOf(facts, port), pathPrefix: '', pid: null, container: facts.Name.replace(/^\//, '') };
}

function originOf({ NetworkSettings, HostConfig }: ContainerFacts, port: number): string {
  const published = NetworkSettings.Ports?.[`${port}/tcp`]?.find(({ HostIp }) => HostIp === '127.0.0.1');
  if (published?.HostPort) return `http://127.0.0.1:${published.HostPort}`;
  const networks = NetworkSettings.Networks ?? {};
  const network = networks[HostConfig.NetworkMode ?? ''] ?? Object.values(networks)[0];
  const alias = network?.Aliases?.find((name: string) => name.startsWith(ALIAS_PREFIX));
  if (alias !== undefined) return `http://${alias}:${port}`;
  if (network?.IPAddress) return `http://${network.IPAddress}:${port}`;
  return NOWHERE;
}

export const ALIAS_PREFIX = 'vgw-';

/** `imageNow`: what the name of its image stands for today; undefined, as null surroundings, when nobody can tell. */
export function foundAs(
  found: FoundContainer,
  known: { readonly imageNow: string | undefined; readonly surroundings: Surroundings | null; readonly now: number },
): FoundReplica {
  const { labels, facts } = found;
  const port = labels.port ?? 0;
  return {
    id: labels.id,
    generation: labels.generation,
    model: labels.model,
    specHash: labels.specHash,
    reservations: labels.reservations,
    // Every engine has the same port, each in a network of its own: none of the machine's is taken.
    port: null,
    endpoint: endpointOf(facts, port),
    usable: unusable(facts, known.imageNow) ?? unreachable(facts, port, known.surroundings) ?? true,
    ageMs: labels.createdAt === null ? null : Math.max(0, known.now - labels.createdAt),
  };
}

function unusable(facts: ContainerFacts, imageNow: string | undefined): string | null {
  if (facts.State.Paused) return 'its container is paused';
  if (facts.State.Restarting) return 'its container is being restarted by somebody else';
  if (imageNow !== undefined && imageNow !== facts.Image) {
    return `its image is not what ${facts.Config.Image} stands for now`;
  }
  return null;
}

/** The gateway was on the host and is in a container now, or the other way round, or in another network. */
function unreachable(facts: ContainerFacts, port: number, surroundings: Surroundings | null): string | null {
  if (surroundings === null) return null;
  const { hostname } = new URL(originOf(facts, port));
  const reached =
    surroundings.reach === 'published'
      ? !hostname.startsWith(ALIAS_PREFIX)
      : hostname !== '127.0.0.1' && facts.NetworkSettings.Networks[surroundings.network] !== undefined;
  return reached ? null : 'it cannot be reached from where the gateway runs now';
}

/** Of a container that is over; null while it runs. */
export function exitOf(facts: ContainerFacts, replica: ReplicaRef): ExitReport | null {
  const { State } = facts;
  if (isAlive(facts)) return null;
  const ref = { id: replica.id, generation: replica.generation };
  const signal = SIGNALS[State.ExitCode - SHELL_SIGNAL_BASE] ?? null;
  const code = signal === null ? State.ExitCode : null;
  const how = signal === null ? `exit code ${State.ExitCode}` : `killed by ${signal}`;
  const memory = State.OOMKilled ? '; the memory of its container or of the machine was used up' : '';
  return { replica: ref, code, signal, detail: `${how}${memory}` };
}

/** Its addresses are other ones, and whoever spoke with it speaks with nobody. */
export function restartedExit(replica: ReplicaRef): ExitReport {
  return { ...removedExit(replica), detail: 'its container was restarted by somebody else' };
}

/** It may run on, but nobody reaches it where it was launched. */
export function movedExit(replica: ReplicaRef): ExitReport {
  return {
    ...removedExit(replica),
    detail: 'its container was taken out of its network, or given another address, by somebody else',
  };
}

export function removedExit(replica: ReplicaRef): ExitReport {
  const ref = { id: replica.id, generation: replica.generation };
  return { replica: ref, code: null, signal: null, detail: 'its container was removed by somebody else' };
}
