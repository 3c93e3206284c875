/** What a plan says is what happens: before a start, before an eviction, and in the words of a refusal. */
import { afterAll, describe, expect, it } from 'vitest';
import { planAnswer, type PlanAnswer } from '../../src/admin/contract.ts';
import { runCommand } from '../support/command.ts';
import { decisionsOf } from '../support/decisions.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { startFleet } from '../support/simulated-fleet.ts';

const DEVICES =
  'devices: { probe: simulated, list: [{ id: gpu-0, memory: 24GiB }] }\nlimits: { min_residency: 0, queue_timeout: 1s }';
const MODELS = [
  { name: 'one', knobs: { START_MS: 50 }, keys: ['memory: 14GiB'] },
  { name: 'two', knobs: { START_MS: 50 }, keys: ['memory: 14GiB'] },
  { name: 'giant', keys: ['memory: 90GiB'] },
];

async function planOf(gateway: TestGateway, model: string): Promise<PlanAnswer['models'][string]> {
  const answer = planAnswer.parse(await (await fetch(`${gateway.url}/gateway/plan?model=${model}`)).json());
  const planned = answer.models[model];
  if (!planned) throw new Error(`no plan of ${model}`);
  return planned;
}

function chat(gateway: TestGateway, model: string): Promise<Response> {
  return gateway.post('/v1/chat/completions', { model, messages: [{ role: 'user', content: 'Hello' }] });
}

let gatewayId = '';

afterAll(async () => {
  await noEngineLeft(gatewayId);
});

describe('a plan', () => {
  it('is what happens then, and a refusal has its words [items 107, 114]', async () => {
    await using gateway = await startFleet(MODELS, DEVICES);
    gatewayId = gateway.gateway.id;
    expect(await planOf(gateway, 'one')).toMatchObject({ outcome: 'fits', devices: ['gpu-0'], evicts: [] });
    expect((await chat(gateway, 'one')).status).toBe(200);
    expect(await planOf(gateway, 'one')).toMatchObject({ outcome: 'placed', devices: ['gpu-0'] });

    // It has to have rested for a moment before it may leave.
    await expect.poll(async () => (await planOf(gateway, 'two')).outcome, { timeout: 10_000 }).toBe('fits');
    const { evicts, reason } = await planOf(gateway, 'two');
    expect(evicts).toHaveLength(1);
    expect(reason).toContain(`as soon as ${evicts[0]} has left`);
    expect((await chat(gateway, 'two')).status).toBe(200);
    const evicted = decisionsOf(gateway).filter(({ event }) => event === 'replica.evicted');
    expect(evicted.map(({ replica }) => replica)).toEqual(evicts);

    const giant = await planOf(gateway, 'giant');
    expect(giant).toMatchObject({ fits: false, outcome: 'never' });
    const refused = await chat(gateway, 'giant');
    expect(refused.status).toBe(503);
    expect(refused.headers.get('x-should-retry')).toBe('false');
    const { error } = (await refused.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe('no_capacity');
    expect(error.message).toContain(giant.reason);
  });

  it('of the installed command is the same, of a gateway and of a file', async () => {
    await using gateway = await startFleet(MODELS, DEVICES);
    gatewayId = gateway.gateway.id;
    const remote = await runCommand(['plan', '--url', gateway.url, '--json']);
    const local = await runCommand(['plan', '--config', `${gateway.folder}/gateway.yaml`, '--json']);
    expect([remote.code, local.code]).toEqual([0, 0]);
    const [theirs, ours] = [remote, local].map(({ stdout }) => planAnswer.parse(JSON.parse(stdout)));
    expect(ours).toEqual(theirs);
    const shown = await runCommand(['plan', '--config', `${gateway.folder}/gateway.yaml`, '--model', 'giant']);
    expect(shown.stdout).toContain(theirs?.models['giant']?.reason);
  });
});
