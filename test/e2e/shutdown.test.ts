/** The end of a gateway by signal: accepted work is finished, new work is turned away, engines leave or stay by policy. */
import { afterAll, describe, expect, it } from 'vitest';
import { Clients, errorOf, type ClientAnswer } from '../support/clients.ts';
import { enginesOf, isAlive, noEngineLeft } from '../support/engine-processes.ts';
import { recordOf } from '../support/engine-records.ts';
import { eventually } from '../support/eventually.ts';
import { startGateway, type GatewayProcess } from '../support/gateway-process.ts';
import { openStream } from '../support/open-stream.ts';
import { simulatedYaml, type SimulatedModel } from '../support/simulated-fleet.ts';
import type { StatusAnswer } from '../../src/admin/contract.ts';

const MODELS: readonly SimulatedModel[] = [
  { name: 'busy', knobs: { PROCESSES: 2 }, keys: ['max_concurrent: 2'] },
  { name: 'slow', knobs: { START_MS: 1_500 } },
];
const YAML = simulatedYaml(MODELS);
/** About two seconds. */
const A_WHILE = { tokens: 100, token_ms: 20 };
const SECOND_SIGNAL_AFTER_MS = 1_000;

const gatewayIds = new Set<string>();

afterAll(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
});

async function start(server = '', yaml = YAML, folder?: string): Promise<GatewayProcess> {
  const gateway = await startGateway({ yaml, server, ...(folder === undefined ? {} : { folder }) });
  gatewayIds.add(gateway.gatewayId ?? '');
  return gateway;
}

async function ends(gateway: GatewayProcess, code: number): Promise<void> {
  expect(await gateway.exit).toEqual({ code, signal: null });
}

async function nothingLeft(gateway: GatewayProcess): Promise<void> {
  expect(await enginesOf(gateway.gatewayId ?? '')).toEqual([]);
}

async function untilDraining(gateway: GatewayProcess): Promise<void> {
  await eventually('it drains', () => gateway.decisions('gateway.draining').length > 0);
}

async function untilQueued(gateway: GatewayProcess, model: string, queued: number): Promise<void> {
  await eventually(`${queued} wait for ${model}`, async () => {
    const status = (await gateway.status()) as unknown as StatusAnswer;
    return status.models[model]?.queued === queued;
  });
}

describe('SIGTERM', () => {
  it('[F98] to an idle gateway ends it and its engines with exit code 0 [item 74]', async () => {
    await using gateway = await start();
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('busy')).status).toBe(200);
    expect(await enginesOf(gateway.gatewayId ?? '')).toHaveLength(2);
    gateway.signal('SIGTERM');
    await ends(gateway, 0);
    await nothingLeft(gateway);
  });

  it('[F98] lets streams and waiting requests finish while new ones are turned away [items 74, 75] [I-85]', async () => {
    await using gateway = await start();
    await using clients = new Clients(gateway.url);
    const streams = [await openStream(clients, 'busy', A_WHILE), await openStream(clients, 'busy', A_WHILE)];
    const waiting = clients.chat('busy');
    await untilQueued(gateway, 'busy', 1);
    gateway.signal('SIGTERM');
    await untilDraining(gateway);
    const late = await clients.chat('busy');
    expect([late.status, errorOf(late)['code'], late.headers['connection']]).toEqual([503, 'shutting_down', 'close']);
    expect(Number(late.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect((await clients.get('/readyz')).status).toBe(503);
    for (const { end } of streams) {
      const { frames, broken } = await end;
      expect([broken, frames.at(-1)?.data]).toEqual([false, '[DONE]']);
    }
    const served = await waiting;
    expect([served.status, served.headers['connection']]).toEqual([200, 'close']);
    await ends(gateway, 0);
    await nothingLeft(gateway);
  });

  it('[F98] during a start serves those who wait for it [item 74]', async () => {
    await using gateway = await start();
    await using clients = new Clients(gateway.url);
    const waiting = clients.chat('slow');
    await untilQueued(gateway, 'slow', 1);
    gateway.signal('SIGTERM');
    expect((await waiting).status).toBe(200);
    await ends(gateway, 0);
    await nothingLeft(gateway);
  });

  it('[F98] cuts what outlives shutdown_timeout with a framed error, and exits with 1 [item 75]', async () => {
    await using gateway = await start('  shutdown_timeout: 1s\n');
    await using clients = new Clients(gateway.url);
    const streams = [await openStream(clients, 'busy'), await openStream(clients, 'busy')];
    const waiting = clients.chat('busy');
    await untilQueued(gateway, 'busy', 1);
    gateway.signal('SIGTERM');
    for (const { end } of streams) {
      const { frames, broken } = await end;
      expect(broken).toBe(true);
      expect(JSON.parse(frames.at(-1)?.data ?? '')).toMatchObject({ error: { code: 'shutting_down' } });
    }
    const refused = await waiting;
    expect([refused.status, errorOf(refused)['code']]).toEqual([503, 'shutting_down']);
    await ends(gateway, 1);
    await nothingLeft(gateway);
  });

  it('[F98] sent again after a second ends everything at once with 143; sooner it counts for one', async () => {
    await using gateway = await start('  shutdown_timeout: 60s\n');
    await using clients = new Clients(gateway.url);
    const stream = await openStream(clients, 'busy');
    const sentAt = performance.now();
    gateway.signal('SIGTERM');
    gateway.signal('SIGTERM');
    await untilDraining(gateway);
    await eventually('a second has passed', () => performance.now() - sentAt > SECOND_SIGNAL_AFTER_MS + 200);
    expect(gateway.running).toBe(true);
    gateway.signal('SIGTERM');
    await ends(gateway, 143);
    expect((await stream.end).broken).toBe(true);
    await nothingLeft(gateway);
  });

  it('is not held up by somebody who watches the events', async () => {
    await using gateway = await start('  shutdown_timeout: 60s\n');
    const events = await fetch(`${gateway.url}/gateway/events`);
    expect(events.status).toBe(200);
    gateway.signal('SIGTERM');
    const told = await events.text();
    expect(told).toContain('gateway.draining');
    await ends(gateway, 0);
  });

  it('[F98] while the first start of all is under way leaves nothing behind', async () => {
    await using gateway = await start(
      '',
      simulatedYaml([{ name: 'early', knobs: { START_MS: 3_000, PROCESSES: 2 }, keys: ['preload: true'] }]),
    );
    await eventually('its engine runs', async () => (await enginesOf(gateway.gatewayId ?? '')).length > 0);
    gateway.signal('SIGTERM');
    await ends(gateway, 0);
    await nothingLeft(gateway);
  });
});

describe('on_shutdown', () => {
  it('leave: engines stay, and the next gateway has them [items 73, 74]', async () => {
    const server = '  on_shutdown: leave\n';
    await using first = await start(server);
    await using clients = new Clients(first.url);
    expect((await clients.chat('busy')).status).toBe(200);
    const before = await enginesOf(first.gatewayId ?? '');
    const { id, pid } = recordOf(first.stateDir, 'busy');
    first.signal('SIGTERM');
    await ends(first, 0);
    expect(await isAlive(pid ?? 0)).toBe(true);
    await using second = await start('', YAML, first.folder);
    await using again = new Clients(second.url);
    const answer: ClientAnswer = await again.chat('busy');
    expect([answer.status, answer.headers['x-vgw-replica']]).toEqual([200, id]);
    expect((await enginesOf(first.gatewayId ?? '')).map((one) => one.pid)).toEqual(before.map((one) => one.pid));
    second.signal('SIGTERM');
    await ends(second, 0);
    await nothingLeft(second);
  });
});
