/** What was learned of models' memory outlives the gateway, whatever ends it. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { PlanAnswer, StatusAnswer } from '../../src/admin/contract.ts';
import { Clients } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { spawnGateway, startGateway, type GatewayProcess } from '../support/gateway-process.ts';
import { watchedGpus, type WatchedModel } from '../support/watched-gpus.ts';

const gatewayIds = new Set<string>();

afterAll(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
});

const statusOf = async (gateway: GatewayProcess): Promise<StatusAnswer> =>
  (await (await fetch(`${gateway.url}/gateway/status`)).json()) as StatusAnswer;

async function basisOf(gateway: GatewayProcess, model: string): Promise<string | null | undefined> {
  const answer = await fetch(`${gateway.url}/gateway/plan?model=${model}`);
  return ((await answer.json()) as PlanAnswer).models[model]?.basis;
}

/** Starts the model once and waits until what it takes is on disk. */
async function learn(gateway: GatewayProcess, model: string): Promise<void> {
  await using clients = new Clients(gateway.url);
  expect((await clients.chat(model)).status).toBe(200);
  const path = join(gateway.stateDir, 'footprints.json');
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
  await eventually('it is written down', () => {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return text.includes(`"${model}"`) && (text !== before || gateway.decisions('replica.measured').length > 0);
  });
}

it('footprints survive a sudden death and are planned with; other settings are measured anew [items 128, 129, 164]', async () => {
  using gpus = watchedGpus('death', [20]);
  const models: readonly WatchedModel[] = [{ name: 'same' }, { name: 'changed' }];
  await using first = await startGateway({ yaml: gpus.yaml(models), env: gpus.env });
  gatewayIds.add(first.gatewayId ?? '');
  await learn(first, 'same');
  await learn(first, 'changed');
  const { footprints } = await statusOf(first);
  await first.kill();

  const after: readonly WatchedModel[] = [{ name: 'same' }, { name: 'changed', keys: { kv_reservation_seqs: 4 } }];
  await using second = await startGateway({ yaml: gpus.yaml(after), env: gpus.env, folder: first.folder });
  await using clients = new Clients(second.url);
  // The one that runs on is ours still; the one whose share would be another now is not.
  expect((await clients.chat('same')).status).toBe(200);
  expect(second.decisions('replica.starting').filter(({ model }) => model === 'same')).toHaveLength(0);
  expect(second.decisions('replica.not_adopted').map(({ model }) => model)).toEqual(['changed']);
  await clients.post('/gateway/models/same/unload?wait=true', {});
  expect([await basisOf(second, 'same'), await basisOf(second, 'changed')]).toEqual([
    'footprint',
    expect.not.stringMatching('footprint'),
  ]);

  expect((await clients.chat('same')).status).toBe(200);
  expect((await clients.chat('changed')).status).toBe(200);
  await eventually('both are measured', async () => {
    const { replicas } = await statusOf(second);
    return Object.values(replicas).filter(({ measured }) => measured).length === 2;
  });
  const now = (await statusOf(second)).footprints;
  expect(now['same']).toMatchObject({
    gpu_memory_utilization: footprints['same']?.gpu_memory_utilization,
    kv_cache_mib: footprints['same']?.kv_cache_mib,
  });
  // A quarter of the sequences: a smaller share, measured as such.
  expect(now['changed']?.steady_mib).toBeLessThan((footprints['changed']?.steady_mib ?? 0) - 1_000);
  expect(await basisOf(second, 'changed')).toBe('footprint');
});

it('a GPU that the configuration names and the machine has not got ends the start with 2, naming those that are there [item 15]', async () => {
  using gpus = watchedGpus('names', [20]);
  const yaml = gpus.yaml([{ name: 'one', keys: { pool: 'fast' } }], { pools: { fast: ['GPU-names-0', 'GPU-gone'] } });
  await using gateway = await spawnGateway({ yaml, env: gpus.env });
  expect(await gateway.exit).toEqual({ code: 2, signal: null });
  expect(gateway.stderr).toMatch(/GPU-gone \(pool 'fast'\).*It has: GPU-names-0/);
});
