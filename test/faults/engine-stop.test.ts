/** Engines that do not go as they should: nothing of them may stay, and their memory is used again when it is seen to be free. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive, noEngineLeft } from '../support/engine-processes.ts';
import { changeRecord, recordOf } from '../support/engine-records.ts';
import { eventually, timed } from '../support/eventually.ts';
import {
  atRest,
  factsOf,
  faultGateway,
  faultGatewayOn,
  nothingLeftOf,
  processesOf,
  type FaultGateway,
} from '../support/fault-gateway.ts';
import { ENDLESS, errorsIn, openStream } from '../support/open-stream.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';
import { watchedGpus, type WatchedGpus, type WatchedModel } from '../support/watched-gpus.ts';

/** Two models fit on the first; on the second one alone. */
const GIB = [60, 8];
const RELEASE_MS = 1_500;
const SEEN_WITHIN_MS = 1_000;

let gpus: WatchedGpus;
let fault: FaultGateway;
let gatewayId: string;

function models(uuids: readonly string[]): readonly WatchedModel[] {
  const wide = { devices: [uuids[0]] };
  const narrow = { devices: [uuids[1]] };
  const core = { PROCESSES: 2 };
  return [
    { name: 'sound', keys: wide },
    { name: 'escaping', knobs: { ...core, FAULT: 'setsid_orphan', VRAM_RELEASE_MS: RELEASE_MS }, keys: narrow },
    { name: 'next', keys: narrow },
    { name: 'deaf', knobs: { FAULT: 'sigterm_ignored' }, keys: { ...wide, stop_timeout: '6s' } },
    { name: 'warming', knobs: { ...core, START_MS: 8_000, FAULT: 'sigterm_lost_during_start' }, keys: wide },
    { name: 'holding', knobs: { FAULT: 'orphan' }, keys: wide },
    { name: 'touchy', knobs: { FAULT: 'crash_on_abort' }, keys: { ...wide, max_concurrent: 2 } },
  ];
}

beforeAll(async () => {
  gpus = watchedGpus('stop', GIB);
  fault = await faultGatewayOn(gpus, models(gpus.uuids));
  gatewayId = fault.gateway.gatewayId ?? '';
});

afterAll(async () => {
  await fault[Symbol.asyncDispose]();
  gpus[Symbol.dispose]();
  await noEngineLeft(gatewayId);
});

async function leaderOf(model: string): Promise<number> {
  const leader = (await processesOf(fault.gateway, model)).find(({ leads }) => leads);
  if (!leader) throw new Error(`no engine of ${model}`);
  return leader.pid;
}

function unload(model: string): Promise<Response> {
  return fetch(`${fault.gateway.url}/gateway/models/${model}/unload?wait=true`, { method: 'POST' });
}

async function serves(model: string): Promise<string> {
  const answer = await fault.clients.chat(model);
  expect([model, answer.status]).toEqual([model, 200]);
  return answer.headers['x-vgw-replica'] ?? '';
}

describe('an engine whose main process is killed', () => {
  it('[F44] is followed by every process that it left, in sessions of their own too, and its memory is waited for', async () => {
    await serves('escaping');
    const left = await processesOf(fault.gateway, 'escaping');
    expect(left.length).toBeGreaterThan(1);
    expect(left.filter(({ group }) => group !== left.find(({ leads }) => leads)?.pid)).not.toEqual([]);
    const killedAt = performance.now();
    process.kill(await leaderOf('escaping'), 'SIGKILL');
    // Beside what the other still holds it would fail.
    await serves('next');
    expect(performance.now() - killedAt).toBeGreaterThan(RELEASE_MS);
    for (const { pid } of left) expect(await isAlive(pid)).toBe(false);
    await nothingLeftOf(fault.gateway, 'escaping');
  });

  it('[F47] is seen to be gone at once, although a child of it holds what it wrote to', async () => {
    const first = await serves('holding');
    const held = (await processesOf(fault.gateway, 'holding')).filter(({ leads }) => !leads);
    expect(held).toHaveLength(1);
    const killedAt = performance.now();
    process.kill(await leaderOf('holding'), 'SIGKILL');
    await eventually('it is seen', () =>
      fault.gateway.decisions('replica.crashed').some(({ replica }) => replica === first),
    );
    expect(performance.now() - killedAt).toBeLessThan(SEEN_WITHIN_MS);
    expect(await serves('holding')).not.toBe(first);
    expect(await isAlive(held[0]?.pid ?? 0)).toBe(false);
  });
});

describe('an engine that is to stop', () => {
  it('[F45] and ignores SIGTERM is killed after a third of stop_timeout', async () => {
    await serves('deaf');
    const { value: answer, ms } = await timed(() => unload('deaf'));
    expect(answer.status).toBe(200);
    expect(await processesOf(fault.gateway, 'deaf')).toEqual([]);
    expect([ms > 2_000, ms < 6_000]).toEqual([true, true]);
  });

  it('[F46] in the middle of its start, where the signal is lost, leaves no worker behind and no memory', async () => {
    const before = gpus.used()[0] ?? 0;
    await fetch(`${fault.gateway.url}/gateway/models/warming/load`, { method: 'POST' });
    await eventually('its worker holds memory', async () => {
      return (await processesOf(fault.gateway, 'warming')).length === 2 && (gpus.used()[0] ?? 0) > before;
    });
    expect((await unload('warming')).status).toBe(200);
    expect(await processesOf(fault.gateway, 'warming')).toEqual([]);
    gpus.change(() => undefined);
    expect(gpus.used()[0]).toBe(before);
    expect((await factsOf(fault.gateway)).models['warming']).toMatchObject({ state: 'cold', replicas: [] });
  });
});

it('[F54] an engine that does not survive a client that leaves is replaced at once: others are told or served, none is forgotten', async () => {
  const stays = await openStream(fault.clients, 'touchy', ENDLESS);
  const leaving = new AbortController();
  const leaves = await fault.clients.open('touchy', { stream: true, fake: ENDLESS, signal: leaving.signal });
  leaves.body.on('error', () => undefined).resume();
  const waiting = fault.clients.chat('touchy');
  await eventually('one waits', async () => (await factsOf(fault.gateway)).models['touchy']?.queued === 1);
  leaving.abort();
  const { frames, broken } = await stays.end;
  expect([errorsIn(frames).map(({ code }) => code), broken]).toEqual([['upstream_lost'], true]);
  const served = await waiting;
  expect(served.status).toBe(200);
  expect(served.headers['x-vgw-replica']).not.toBe(stays.replica);
  await serves('sound');
  await atRest(fault.gateway);
});

it('[F48] a process that was given the pid of a dead engine is never touched', async () => {
  const yaml = simulatedYaml([{ name: 'reused' }]);
  await using first = await faultGateway({ yaml });
  expect((await first.clients.chat('reused')).status).toBe(200);
  const record = recordOf(first.gateway.stateDir, 'reused');
  await first.gateway.kill();
  process.kill(record.pid ?? 0, 'SIGKILL');
  await eventually('the engine is gone', async () => !(await isAlive(record.pid ?? 0)));
  const stranger = spawn('sleep', ['600'], { detached: true });
  try {
    await once(stranger, 'spawn');
    changeRecord(first.gateway.stateDir, record, { pid: stranger.pid });
    await using second = await faultGateway({ yaml, folder: first.gateway.folder });
    const answer = await second.clients.chat('reused');
    expect([answer.status, answer.headers['x-vgw-replica'] === record.id]).toEqual([200, false]);
    second.gateway.signal('SIGTERM');
    expect(await second.gateway.exit).toEqual({ code: 0, signal: null });
    expect(stranger.signalCode).toBeNull();
    expect(await isAlive(stranger.pid ?? 0)).toBe(true);
  } finally {
    stranger.kill('SIGKILL');
  }
});

const namespaces = ['--pid', '--fork', '--mount-proc', '--kill-child'];
const canUnshare = spawnSync('unshare', [...namespaces, 'true']).status === 0;

/** The process that `unshare` has put into a namespace of its own, where it is number 1. */
function insideOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}

it.runIf(canUnshare)(
  '[F49] [F50] a gateway that is process 1 takes nobody for alive who only waits to be reaped, and obeys SIGTERM',
  async () => {
    const yaml = simulatedYaml([{ name: 'littering', knobs: { FAULT: 'setsid_orphan', PROCESSES: 2 } }]);
    await using first = await faultGateway({ yaml, through: ['unshare', ...namespaces] });
    const { gateway, clients } = first;
    expect((await clients.chat('littering')).status).toBe(200);
    const inside = insideOf(gateway.pid);
    const before = await processesOf(gateway, 'littering');
    process.kill(before.find(({ leads }) => leads)?.pid ?? 0, 'SIGKILL');
    await eventually('all of it is dead', async () => {
      return !(await Promise.all(before.map(({ pid }) => isAlive(pid)))).includes(true);
    });
    // Its memory and its port are free for the next one: nobody waits for the dead.
    const { value: answer, ms } = await timed(() => clients.chat('littering'));
    expect([answer.status, ms < 5_000]).toEqual([200, true]);
    // Who is orphaned there becomes a child of process 1, which is no init: it stays a zombie.
    const children = readFileSync(`/proc/${inside}/task/${inside}/children`, 'utf8').trim().split(' ');
    const zombies = children.filter((pid) => /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')));
    expect(zombies.length).toBeGreaterThan(0);
    process.kill(inside, 'SIGTERM');
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
    await noEngineLeft(gateway.gatewayId ?? '');
  },
);
