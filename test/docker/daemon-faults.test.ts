/** What a daemon does to engines that serve: pauses them, runs out of disk, takes them with it when it is stopped. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Clients, errorOf } from '../support/clients.ts';
import { callDocker } from '../support/docker-call.ts';
import { dockerHere } from '../support/docker-daemon.ts';
import { startDockerFleet, type DockerFleet } from '../support/docker-fleet.ts';
import {
  ownContainers,
  readiness,
  removeContainers,
  startFleetGateway,
  statusOf,
  untilReady,
  type FleetModel,
} from '../support/docker-gateways.ts';
import { eventually } from '../support/eventually.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { errorsIn, openStream } from '../support/open-stream.ts';

const ANT: FleetModel = { name: 'ant', mib: 4 * 1024, keys: { timeouts: { stall: '2s' } } };
const BEE: FleetModel = { name: 'bee', mib: 4 * 1024 };
const CHUNK = Buffer.alloc(1024 * 1024, 7);

describe.runIf(dockerHere())('a daemon whose containers end with it, on a small disk', () => {
  let fleet: DockerFleet;
  let gateway: GatewayProcess;

  beforeAll(async () => {
    fleet = await startDockerFleet('faults', [24], { dataMib: 1_024 });
  }, 120_000);
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
  }, 120_000);
  afterEach(async () => {
    const id = gateway.gatewayId;
    await gateway[Symbol.asyncDispose]();
    await removeContainers(fleet.daemon.socket, await ownContainers(fleet.daemon.socket, id));
  });

  const own = () => ownContainers(fleet.daemon.socket, gateway.gatewayId);
  const answers = async (clients: Clients, model: string): Promise<number> => (await clients.chat(model)).status;

  /** Writes until the disk of the daemon is full; returns what frees it again. */
  function fillDisk(): () => void {
    const path = join(fleet.daemon.folder, 'data', 'ballast');
    const file = openSync(path, 'w');
    try {
      for (;;) writeSync(file, CHUNK);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    } finally {
      closeSync(file);
    }
    return () => rmSync(path);
  }

  it('replaces an engine whose container somebody paused, and never takes its memory for free [F70]', async () => {
    gateway = await startFleetGateway(fleet, { models: [ANT] });
    await using clients = new Clients(gateway.url);
    expect(await answers(clients, 'ant')).toBe(200);
    const [paused] = await own();
    const stream = await openStream(clients, 'ant', { tokens: 2_000, token_ms: 20 });
    await callDocker(fleet.daemon.socket, 'POST', `/containers/${paused?.id}/pause`);
    const sent = clients.chat('ant');
    const givenUp = (): number =>
      ['replica.stalled', 'replica.unhealthy'].flatMap((kind) => gateway.decisions(kind)).length;
    await eventually('its engine is given up', () => givenUp() === 1, 45_000);
    expect(errorsIn((await stream.end).frames)).toHaveLength(1);
    // It may have been worked on: nobody repeats it unasked.
    expect((await sent).status).toBe(504);
    expect(await answers(clients, 'ant')).toBe(200);
    const after = await own();
    expect(after.map(({ running }) => running)).toEqual([true]);
    expect(after[0]?.id).not.toBe(paused?.id);
    // The second start came after the first container was gone: never two of them on the device.
    const order = gateway.log
      .map(({ event }) => event)
      .filter((event) => event === 'replica.gone' || event === 'replica.starting');
    expect(order).toEqual(['replica.starting', 'replica.gone', 'replica.starting']);
  });

  it('says that the disk of Docker is full, serves on with what is ready, and starts when there is room [F72]', async () => {
    gateway = await startFleetGateway(fleet, { models: [ANT, BEE] });
    await using clients = new Clients(gateway.url);
    expect(await answers(clients, 'ant')).toBe(200);
    const free = fillDisk();
    const refused = await clients.chat('bee');
    expect(refused.status).toBe(503);
    expect(errorOf(refused)).toMatchObject({ code: 'model_start_failed' });
    expect(String(errorOf(refused)['message'])).toMatch(/disk|no space/i);
    expect(await answers(clients, 'ant')).toBe(200);
    expect((await own()).map(({ running }) => running)).toEqual([true]);
    free();
    await eventually('it starts after its rest', async () => (await answers(clients, 'bee')) === 200);
  });

  it('tells running streams when it is stopped, and engines are started again when it is back [F65]', async () => {
    gateway = await startFleetGateway(fleet, { models: [ANT] });
    await using clients = new Clients(gateway.url);
    expect(await answers(clients, 'ant')).toBe(200);
    const stream = await openStream(clients, 'ant', { tokens: 5_000, token_ms: 20 });
    await fleet.daemon.terminate();
    expect(errorsIn((await stream.end).frames)).toHaveLength(1);
    await eventually('it says what is missing', async () =>
      (await readiness(gateway)).reasons.includes('driver docker'),
    );
    await fleet.daemon.start();
    await eventually('it serves again', async () => (await answers(clients, 'ant')) === 200);
    await untilReady(gateway, ['ant']);
    expect((await statusOf(gateway)).models['ant']).toMatchObject({ in_flight: 0, queued: 0 });
    expect((await own()).filter(({ running }) => running)).toHaveLength(1);
  });
});
