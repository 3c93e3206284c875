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

/** `name`: a model, or a replica by its id. Of a model without an engine: the log of its last one. */
export async function showLogs(world: World, client: GatewayClient, name: string, flags: LogFlags): Promise<number> {
  const { value: status } = await client.json('/gateway/status', statusAnswer);
  const live = replicaOf(status, name);
  if (live !== undefined) refuseExternal(status, live);
  const source = live ?? findModel(status, name)?.name ?? name;
  const path = (tail: string | undefined): string => {
    const query = new URLSearchParams();
    if (tail !== undefined) query.set('tail', tail);
    if (flags.follow) query.set('follow', 'true');
    return `/gateway/replicas/${encodeURIComponent(source)}/logs?${query.toString()}`;
  };
  let told = false;
  const tell = (): void => {
    const about = live === undefined ? `log of ${source}, whose engine is gone` : `log of ${live}`;
    if (!told) world.err.write(world.err.style('dim', about) + '\n');
    told = true;
  };
  let tail = flags.tail;
  try {
    while (!(await copy(world, client, path(tail), tell))) tail = '0';
  } catch (error) {
    const unknown = live === undefined && error instanceof CliError && error.code === 'route_not_found';
    throw unknown ? nothingOf(status, name) : error;
  }
  return EXIT.done;
}

/** False when the log was merely silent for too long: go on where it stopped. */
async function copy(world: World, client: GatewayClient, path: string, opened: () => void): Promise<boolean> {
  try {
    const response = await client.open(path, { signal: world.outputGone });
    opened();
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

function replicaOf(status: StatusAnswer, name: string): string | undefined {
  const replicas = findModel(status, name)?.model.replicas ?? [];
  const newest = replicas.toSorted((one, other) => generation(status, one) - generation(status, other)).at(-1);
  return newest ?? (name in status.replicas ? name : undefined);
}

function nothingOf(status: StatusAnswer, name: string): CliError {
  const model = findModel(status, name)?.model;
  if (model) {
    return new CliError(`${name} has no engine at the moment (it is ${model.state}), and had none before.`, {
      hint: `\`vllm-gateway load ${name}\` starts one.`,
    });
  }
  const known = [...Object.keys(status.models), ...Object.keys(status.replicas)].slice(0, 20).join(', ');
  return new CliError(`No model and no replica is called '${name}'; there are: ${known || 'none'}.`);
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
