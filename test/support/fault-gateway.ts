/** Gateway processes that something is done to, and what each of them must look like afterwards. */
import { expect } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { Clients } from './clients.ts';
import { enginesOf, type EngineProcess } from './engine-processes.ts';
import { eventually } from './eventually.ts';
import { startGateway, type GatewayProcess, type GatewayProcessOptions } from './gateway-process.ts';
import { ownPorts } from './simulated-fleet.ts';
import type { WatchedGpus, WatchedModel } from './watched-gpus.ts';

export interface FaultGateway extends AsyncDisposable {
  readonly gateway: GatewayProcess;
  readonly clients: Clients;
}

/** Ready to start models, with a client. */
export async function faultGateway(options: GatewayProcessOptions): Promise<FaultGateway> {
  const gateway = await startGateway(options);
  const clients = new Clients(gateway.url);
  return {
    gateway,
    clients,
    [Symbol.asyncDispose]: async () => {
      await clients[Symbol.asyncDispose]();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

/** The same, with engines on pretended GPUs that its probe really reads. */
export function faultGatewayOn(
  gpus: WatchedGpus,
  models: readonly WatchedModel[],
  more: Readonly<Record<string, unknown>> = {},
  options: Omit<GatewayProcessOptions, 'yaml'> = {},
): Promise<FaultGateway> {
  const drivers = { default: 'process', process: { port_range: ownPorts() } };
  return faultGateway({
    ...options,
    yaml: gpus.yaml(models, { drivers, ...more }),
    env: { ...gpus.env, ...options.env },
  });
}

export async function factsOf(gateway: GatewayProcess): Promise<StatusAnswer> {
  return (await gateway.status()) as unknown as StatusAnswer;
}

export async function processesOf(gateway: GatewayProcess, model: string): Promise<readonly EngineProcess[]> {
  const all = await enginesOf(gateway.gatewayId ?? '');
  return all.filter(({ replica }) => replica.startsWith(`${model}-`));
}

export function nothingLeftOf(gateway: GatewayProcess, model: string): Promise<true> {
  return eventually(`no process of ${model} is left`, async () => (await processesOf(gateway, model)).length === 0);
}

/** Nobody waits, nothing runs, and no request is lost in between. */
export async function atRest(gateway: GatewayProcess): Promise<void> {
  await eventually('every counter is zero', async () => {
    const { models } = await factsOf(gateway);
    return Object.values(models).every(({ queued, in_flight: inFlight }) => queued === 0 && inFlight === 0);
  });
  expect(gateway.running).toBe(true);
}
