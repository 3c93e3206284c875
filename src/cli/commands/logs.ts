/** `logs`: what an engine wrote. */
import { statusAnswer } from '../../admin/contract.ts';
import type { StatusAnswer } from '../../admin/contract.ts';
import { BODY_TIMEOUT, causeCode, textOf } from '../client.ts';
import type { GatewayClient } from '../client.ts';
import { findModel } from '../find-model.ts';
import { CliError, EXIT } from '../world.ts';
import type { World } from '../world.ts';

export interface LogFlags {
  readonly follow?: boolean;
  readonly tail?: string;
}

/** `name`: a model, or a replica by its id. */
export async function showLogs(world: World, client: GatewayClient, name: string, flags: LogFlags): Promise<number> {
  const { value: status } = await client.json('/gateway/status', statusAnswer);
  const replica = replicaOf(status, name);
  refuseExternal(status, replica);
  const path = (tail: string | undefined): string => {
    const query = new URLSearchParams();
    if (tail !== undefined) query.set('tail', tail);
    if (flags.follow) query.set('follow', 'true');
    return `/gateway/replicas/${encodeURIComponent(replica)}/logs?${query.toString()}`;
  };
  world.err.write(world.err.style('dim', `log of ${replica}`) + '\n');
  let tail = flags.tail;
  while (!(await copy(world, client, path(tail)))) tail = '0';
  return EXIT.done;
}

/** False when the log was merely silent for too long: go on where it stopped. */
async function copy(world: World, client: GatewayClient, path: string): Promise<boolean> {
  try {
    const response = await client.open(path, { signal: world.outputGone });
    for await (const text of textOf(response)) world.out.write(text);
    return true;
  } catch (error) {
    if (world.outputGone.aborted) return true;
    if (causeCode(error) === BODY_TIMEOUT) return false;
    throw error instanceof CliError ? error : lost(client);
  }
}

export function lost(client: GatewayClient): CliError {
  return new CliError(`The connection to ${client.url} broke off.`);
}

function replicaOf(status: StatusAnswer, name: string): string {
  const model = findModel(status, name)?.model;
  const newest = model?.replicas.toSorted((one, other) => generation(status, one) - generation(status, other)).at(-1);
  if (newest !== undefined) return newest;
  if (name in status.replicas) return name;
  if (model) {
    throw new CliError(`${name} has no engine at the moment (it is ${model.state}).`, {
      hint: `\`vllm-gateway load ${name}\` starts one.`,
    });
  }
  const known = [...Object.keys(status.models), ...Object.keys(status.replicas)].slice(0, 20).join(', ');
  throw new CliError(`No model and no replica is called '${name}'; there are: ${known || 'none'}.`);
}

/** The gateway did not start it and reads nothing of it: an empty answer would look like a silent engine. */
function refuseExternal(status: StatusAnswer, replica: string): void {
  const model = status.replicas[replica]?.model ?? '';
  if (status.models[model]?.driver !== 'external') return;
  throw new CliError(`${model} is a server that somebody else runs; its log is kept there, not by the gateway.`);
}

function generation(status: StatusAnswer, id: string): number {
  return status.replicas[id]?.generation ?? 0;
}
