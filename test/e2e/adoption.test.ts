/** What an earlier gateway left is adopted when it is ours, unchanged and wanted, and ended with the reason otherwise. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Clients } from '../support/clients.ts';
import { enginesOf, noEngineLeft } from '../support/engine-processes.ts';
import { changeRecord, recordOf, recordsIn } from '../support/engine-records.ts';
import { eventually } from '../support/eventually.ts';
import { spawnGateway, startGateway, type GatewayProcess } from '../support/gateway-process.ts';
import { simulatedYaml, type SimulatedModel } from '../support/simulated-fleet.ts';

const KEPT: readonly SimulatedModel[] = [
  { name: 'kept' },
  { name: 'intent' },
  { name: 'loading', knobs: { START_MS: 4_000 } },
  { name: 'headless', knobs: { PROCESSES: 2 } },
];
const BEFORE = simulatedYaml([...KEPT, { name: 'changed' }, { name: 'removed' }]);
const AFTER = simulatedYaml([...KEPT, { name: 'changed', keys: ['max_model_len: 4096'] }]);

const gatewayIds = new Set<string>();

afterAll(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
});

/** All models loaded, but for the one that takes long. */
async function loaded(models: readonly string[]): Promise<GatewayProcess> {
  const gateway = await startGateway({ yaml: BEFORE });
  gatewayIds.add(gateway.gatewayId ?? '');
  await using clients = new Clients(gateway.url);
  const loading = models.map((model) => clients.chat(model));
  for (const answer of await Promise.all(loading)) expect(answer.status).toBe(200);
  return gateway;
}

function refusalOf(gateway: GatewayProcess, replica: string): string {
  return gateway.decisions('replica.not_adopted').find((entry) => entry.replica === replica)?.msg ?? '';
}

it('each engine of a killed gateway is adopted or ended for its own reason, and none runs twice [items 73, 74]', async () => {
  await using first = await loaded(['kept', 'intent', 'headless', 'changed', 'removed']);
  await fetch(`${first.url}/gateway/models/loading/load`, { method: 'POST' });
  await eventually('the slow one is launched', () => recordOf(first.stateDir, 'loading').pid !== null);
  const record = Object.fromEntries(recordsIn(first.stateDir).map((one) => [one.model, one]));
  const id = (model: string): string => record[model]?.id ?? '';
  await first.kill();
  // As if the gateway had died between the launch and the note of its pid.
  changeRecord(first.stateDir, recordOf(first.stateDir, 'intent'), { pid: null, startTime: null });
  process.kill(record['headless']?.pid ?? 0, 'SIGKILL');

  await using second = await startGateway({ yaml: AFTER, folder: first.folder });
  await using clients = new Clients(second.url);
  await eventually('every engine has its word', () => {
    const told = [...second.decisions('replica.ready'), ...second.decisions('replica.not_adopted')];
    const all = told.map((entry) => entry.replica);
    return ['kept', 'intent', 'headless', 'changed', 'removed'].every((model) => all.includes(id(model)));
  });
  expect(refusalOf(second, id('changed'))).toMatch(/its configuration has changed/);
  expect(refusalOf(second, id('removed'))).toMatch(/its model is not configured any more/);
  expect(refusalOf(second, id('headless'))).toMatch(/its main process is gone, but 1 of its processes are left/);
  const models = ['kept', 'intent', 'loading', 'headless', 'changed'];
  const answers = await Promise.all(models.map((model) => clients.chat(model)));
  expect(answers.map(({ status }) => status)).toEqual(models.map(() => 200));
  const served = Object.fromEntries(models.map((model, index) => [model, answers[index]?.headers['x-vgw-replica']]));
  expect(served).toMatchObject({ kept: id('kept'), intent: id('intent'), loading: id('loading') });
  expect([id('headless'), id('changed')]).not.toContain(served['headless']);
  expect(served['changed']).not.toBe(id('changed'));

  await eventually('what was not adopted is gone', async () => {
    const left = (await enginesOf(first.gatewayId ?? '')).map(({ replica }) => replica);
    return ['changed', 'removed', 'headless'].every((model) => !left.includes(id(model)));
  });
  const leaders = (await enginesOf(first.gatewayId ?? '')).filter((one) => one.leads).map(({ replica }) => replica);
  expect(new Set(leaders)).toEqual(new Set(Object.values(served)));
  expect(leaders).toHaveLength(models.length);
  expect(new Set(recordsIn(second.stateDir).map((one) => one.id))).toEqual(new Set(leaders));
  expect(recordOf(second.stateDir, 'intent').pid).not.toBeNull();
});

it('engines whose key is lost with the secret are ended, and said to be [item 73]', async () => {
  await using first = await loaded(['kept']);
  const { id } = recordOf(first.stateDir, 'kept');
  await first.kill();
  await rm(join(first.stateDir, 'secret'));
  await using second = await startGateway({ yaml: BEFORE, folder: first.folder });
  expect(refusalOf(second, id)).toMatch(/the secret that its key was made from is lost/);
  await using clients = new Clients(second.url);
  const answer = await clients.chat('kept');
  expect(answer.status).toBe(200);
  expect(answer.headers['x-vgw-replica']).not.toBe(id);
  await eventually(
    'the old one is gone',
    async () => !(await enginesOf(first.gatewayId ?? '')).some(({ replica }) => replica === id),
  );
});

it('a second gateway on the same folder is turned away with exit code 3, and the first one serves on', async () => {
  await using first = await loaded(['kept']);
  const second = await spawnGateway({ yaml: BEFORE, folder: first.folder });
  expect(await second.exit).toEqual({ code: 3, signal: null });
  expect(second.stderr).toMatch(/held by another gateway \(pid \d+\)/);
  await using clients = new Clients(first.url);
  expect((await clients.chat('kept')).status).toBe(200);
});
