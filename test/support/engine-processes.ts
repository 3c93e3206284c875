/** The engine processes of one gateway, as the system sees them: by the marks in their environment. */
import { readFileSync } from 'node:fs';
import { MARKS } from '../../src/drivers/process/environment.ts';
import type { ProcessFacts } from '../../src/platform/platform.ts';
import { systemSubprocess } from '../../src/platform/subprocess.ts';
import { eventually } from './eventually.ts';

export interface EngineProcess extends ProcessFacts {
  readonly replica: string;
  /** First of its group: what the driver spawned. */
  readonly leads: boolean;
}

/** Everything alive that carries this gateway's id. */
export async function enginesOf(gatewayId: string): Promise<readonly EngineProcess[]> {
  const found = await systemSubprocess.findByEnvironment(MARKS.gateway, gatewayId);
  return found.flatMap((facts) => {
    const replica = variableOf(facts.pid, MARKS.replica);
    return replica === undefined ? [] : [{ ...facts, replica, leads: facts.pid === facts.group }];
  });
}

export function variableOf(pid: number, name: string): string | undefined {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return environment.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
  } catch {
    // It ended meanwhile.
    return undefined;
  }
}

/** Ends what a test left, one by one. */
export async function killEngines(gatewayId: string): Promise<void> {
  await eventually(`the engines of gateway ${gatewayId} are killed`, async () => {
    const left = await enginesOf(gatewayId);
    for (const { pid } of left) systemSubprocess.signal(pid, 'SIGKILL');
    return left.length === 0;
  });
}

/** Resolves when none is left; otherwise ends them and rejects, so that a leak harms one test only. */
export async function noEngineLeft(gatewayId: string, limitMs = 10_000): Promise<void> {
  try {
    await eventually(
      `no engine of gateway ${gatewayId} is left`,
      async () => (await enginesOf(gatewayId)).length === 0,
      limitMs,
    );
  } catch (error) {
    await killEngines(gatewayId);
    throw error;
  }
}

export async function isAlive(pid: number): Promise<boolean> {
  const facts = await systemSubprocess.inspect(pid);
  return facts !== undefined && facts.state !== 'Z';
}
