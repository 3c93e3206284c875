/** Another configuration under a gateway that runs: what goes on, what leaves, and who is told what. */
import { describe, expect, it } from 'vitest';
import { reloadAnswer, type ReloadAnswer } from '../../src/admin/contract.ts';
import { Clients } from '../support/clients.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { openStream } from '../support/open-stream.ts';
import {
  engineStats,
  HELD_START,
  letEngineGo,
  metric,
  simulatedYaml,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilWaiting,
  type SimulatedModel,
} from '../support/simulated-fleet.ts';

async function reload(gateway: TestGateway, query = ''): Promise<ReloadAnswer> {
  const answer = await gateway.post(`/gateway/reload${query}`, '');
  const body: unknown = await answer.json();
  expect(answer.status, JSON.stringify(body)).toBe(200);
  return reloadAnswer.parse(body);
}

const model = (name: string, ...keys: readonly string[]): SimulatedModel => ({ name, keys });

describe('POST /gateway/reload', () => {
  it('says what would become different, and changes nothing in a dry run', async () => {
    await using gateway = await startFleet([model('stays'), model('goes')]);
    await gateway.rewrite(simulatedYaml([model('stays', 'max_queue_size: 7'), model('comes')], 'log: { level: warn }'));
    const answer = await reload(gateway, '?dry_run=true');
    expect(answer).toMatchObject({
      result: 'valid',
      dry_run: true,
      version: 1,
      diff: { keep: ['stays'], drain_and_restart: [], remove: ['goes'], add: ['comes'] },
    });
    expect(answer.diff?.changed).toEqual([
      { path: 'log.level', from: 'info', to: 'warn', rule: 'live' },
      { path: 'models.stays.max_queue_size', from: 200, to: 7, rule: 'live' },
    ]);
    expect(Object.keys((await statusOf(gateway)).models)).toEqual(['stays', 'goes']);
    expect((await statusOf(gateway)).config).toMatchObject({ version: 1, rejected_at: null });
    expect(await reload(gateway)).toMatchObject({ result: 'applied', version: 2, diff: answer.diff });
    expect((await statusOf(gateway)).config).toMatchObject({ version: 2, rejected_at: null });
    expect(await reload(gateway)).toMatchObject({ result: 'unchanged', version: 2 });
    expect(await metric(gateway, 'config_reloads_total', { result: 'applied' })).toBe(1);
    expect(await metric(gateway, 'config_reloads_total', { result: 'unchanged' })).toBe(1);
  });
});
