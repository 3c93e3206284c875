/** The disk of `state_dir` is full, broken, lost in the middle of a write or silent: serving goes on, and nothing old is lost. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  existsSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { builtProgram } from '../support/built-program.ts';
import { errorOf, type ClientAnswer } from '../support/clients.ts';
import { enginesOf, noEngineLeft } from '../support/engine-processes.ts';
import { recordOf } from '../support/engine-records.ts';
import { eventually } from '../support/eventually.ts';
import { atRest, factsOf, faultGateway, type FaultGateway } from '../support/fault-gateway.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { canMount, readOnly, smallDisk } from '../support/mounts.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

const YAML = simulatedYaml([{ name: 'ready' }, { name: 'cold' }, { name: 'other' }]);
const DISK_KIB = 256;
const KILLS_BY_CHANCE = 30;

const gatewayIds = new Set<string>();
const asides: string[] = [];

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
  for (const folder of asides.splice(0)) rmSync(folder, { recursive: true });
});

function newFolder(): { readonly folder: string; readonly stateDir: string } {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-disk-'));
  const stateDir = join(folder, 'data');
  mkdirSync(stateDir, { mode: 0o700 });
  return { folder, stateDir };
}

/** The folder is a link from now on, to one beside it that a mount may lie on until the end of all. */
function aside(stateDir: string): string {
  const target = mkdtempSync(join(tmpdir(), 'vgw-disk-small-'));
  rmSync(stateDir, { recursive: true });
  symlinkSync(target, stateDir);
  asides.push(target);
  return target;
}

async function started(folder: string, more: { readonly node?: readonly string[] } = {}): Promise<FaultGateway> {
  const fault = await faultGateway({ yaml: YAML, folder, ...more });
  gatewayIds.add(fault.gateway.gatewayId ?? '');
  return fault;
}

const pin = async ({ gateway }: FaultGateway, model: string): Promise<number> =>
  (await fetch(`${gateway.url}/gateway/models/${model}/pin`, { method: 'POST' })).status;
const pinsIn = (stateDir: string): readonly string[] =>
  JSON.parse(readFileSync(join(stateDir, 'pins.json'), 'utf8')) as string[];
const says = (gateway: GatewayProcess, text: RegExp): Promise<true> =>
  eventually(`the log says ${text}`, () => gateway.log.some(({ msg }) => text.test(msg)));
const temporaryIn = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp'));

function startRefused(answer: ClientAnswer): void {
  expect(answer.status).toBe(503);
  expect(errorOf(answer)).toMatchObject({ code: 'model_start_failed', cause: 'driver_unavailable' });
  expect(errorOf(answer)['message']).toMatch(/state_dir cannot be written/);
}

async function servesAgain({ clients }: FaultGateway, model: string): Promise<void> {
  await eventually(`${model} starts`, async () => (await clients.chat(model)).status === 200);
}

function fill(folder: string): void {
  const path = join(folder, 'filler');
  for (const bytes of [4_096, 512, 16, 1]) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
  }
}

describe.runIf(canMount)('a state_dir', () => {
  it('[F85] on a full disk keeps its files whole; what is ready serves, a start says why not, and all is well once there is room', async () => {
    const { folder, stateDir } = newFolder();
    using _disk = smallDisk(aside(stateDir), DISK_KIB);
    await using fault = await started(folder);
    const { gateway, clients } = fault;
    expect((await clients.chat('ready')).status).toBe(200);
    expect(await pin(fault, 'ready')).toBe(202);
    await eventually('it is written down', () => pinsIn(stateDir).includes('ready'));
    const before = readFileSync(join(stateDir, 'pins.json'), 'utf8');
    fill(stateDir);
    await pin(fault, 'other');
    await says(gateway, /pins cannot be written/);
    expect(readFileSync(join(stateDir, 'pins.json'), 'utf8')).toBe(before);
    startRefused(await clients.chat('cold'));
    expect((await clients.chat('ready')).status).toBe(200);
    expect(temporaryIn(stateDir)).toEqual([]);
    rmSync(join(stateDir, 'filler'));
    await servesAgain(fault, 'cold');
    await eventually('both pins are on disk', () => pinsIn(stateDir).length === 2);
    await atRest(gateway);
  });

  it('[F88] that cannot be written any more stops no request; a start says why, and engines end and come all the same', async () => {
    const { folder, stateDir } = newFolder();
    await using fault = await started(folder);
    const { gateway, clients } = fault;
    expect((await clients.chat('ready')).status).toBe(200);
    expect((await clients.chat('other')).status).toBe(200);
    {
      using _broken = readOnly(stateDir);
      startRefused(await clients.chat('cold'));
      await pin(fault, 'ready');
      await says(gateway, /pins cannot be written/);
      expect((await clients.chats(10, 'ready')).map(({ status }) => status)).toEqual(Array(10).fill(200));
      // A record that cannot be removed does not keep its engine from ending.
      const unloaded = await fetch(`${gateway.url}/gateway/models/other/unload?wait=true`, { method: 'POST' });
      expect([unloaded.status, (await factsOf(gateway)).models['other']?.state]).toEqual([200, 'cold']);
      expect((await clients.get('/healthz')).status).toBe(200);
    }
    await servesAgain(fault, 'cold');
    await servesAgain(fault, 'other');
    gateway.signal('SIGTERM');
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
  });
});

/** Kills its process at one point of one write: before the new file is in place, or right after. */
const killer = (when: 'before' | 'after'): string => `
import fs from 'node:fs';
const { rename } = fs.promises;
fs.promises.rename = async (from, to) => {
  const strikes = to.endsWith('pins.json') && fs.existsSync(to);
  if (strikes && ${when === 'before'}) process.kill(process.pid, 'SIGKILL');
  await rename(from, to);
  if (strikes) process.kill(process.pid, 'SIGKILL');
};`;

/** Writes one file after the other over the same name, each with its number and as long as the last. */
const writer = (): string => `
import { systemFiles } from ${JSON.stringify(builtProgram().replace(/main\.js$/, 'platform/files.js'))};
const [path] = process.argv.slice(1);
process.stdout.on('error', () => undefined);
for (let count = 1; ; count += 1) {
  await systemFiles.writeAtomic(path, JSON.stringify({ count, filling: 'x'.repeat(20_000 + count), end: count }));
  process.stdout.write('.');
}`;

describe('a gateway that is killed in the middle of a write', () => {
  it.each(['before', 'after'] as const)(
    '[F86] %s the new file is in place finds the old one or the new one, and nothing half',
    async (when) => {
      const { folder, stateDir } = newFolder();
      const hook = join(folder, 'kill.mjs');
      writeFileSync(hook, killer(when));
      await using first = await started(folder, { node: ['--import', hook] });
      await pin(first, 'ready');
      await eventually('the first is on disk', () => pinsIn(stateDir).length === 1);
      await pin(first, 'other').catch(() => undefined);
      expect(await first.gateway.exit).toEqual({ code: null, signal: 'SIGKILL' });
      const strays = temporaryIn(stateDir);
      expect(strays.filter((name) => name.startsWith('pins.json.'))).toHaveLength(when === 'before' ? 1 : 0);
      const left = pinsIn(stateDir);
      expect(left).toEqual(when === 'before' ? ['ready'] : ['ready', 'other']);
      await using second = await started(folder);
      expect(strays.filter((name) => existsSync(join(stateDir, name)))).toEqual([]);
      await eventually('its pins are in force', async () => {
        const { models } = await factsOf(second.gateway);
        return left.every((model) => models[model]?.pinned_by === 'operator');
      });
      await servesAgain(second, 'ready');
    },
  );

  it(`[F86] by chance, ${KILLS_BY_CHANCE} times, leaves a whole file each time`, async () => {
    const { folder } = newFolder();
    const path = join(folder, 'state.json');
    writeFileSync(path, JSON.stringify({ count: 0, end: 0 }));
    const args = ['--input-type=module', '-e', writer(), path];
    for (let kill = 0; kill < KILLS_BY_CHANCE; kill += 1) {
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const gone = once(child, 'exit');
      let written = 0;
      for await (const dots of child.stdout) {
        written += (dots as Buffer).length;
        // Wherever it is in the next write.
        if (written > kill % 5) child.kill('SIGKILL');
      }
      expect(await gone).toEqual([null, 'SIGKILL']);
      const { count, end } = JSON.parse(readFileSync(path, 'utf8')) as { readonly count: number; readonly end: number };
      expect(end).toBe(count);
      expect(count).toBeGreaterThanOrEqual(written);
    }
    rmSync(folder, { recursive: true });
  });
});

it('[F87] state that is empty, damaged or of a later version is put aside and told; its engines are ended, none runs twice', async () => {
  const { folder, stateDir } = newFolder();
  await using first = await started(folder);
  expect((await first.clients.chat('ready')).status).toBe(200);
  expect((await first.clients.chat('other')).status).toBe(200);
  await pin(first, 'ready');
  await eventually('it is written down', () => pinsIn(stateDir).length === 1);
  const [ready, other] = [recordOf(stateDir, 'ready'), recordOf(stateDir, 'other')];
  await first.gateway.kill();
  writeFileSync(join(stateDir, 'pins.json'), '');
  writeFileSync(join(stateDir, 'footprints.json'), '{"version":99,"footprints":[]}');
  writeFileSync(join(stateDir, 'gateway.lock'), '{"pid":');
  writeFileSync(join(stateDir, 'replicas', `${ready.id}.${ready.generation}.json`), '{"format":7');
  await using second = await started(folder);
  expect(second.gateway.gatewayId).toBe(first.gateway.gatewayId);
  await says(second.gateway, /pins is damaged/);
  await says(second.gateway, /footprints is of another version/);
  expect(readdirSync(stateDir).filter((name) => /^(pins|footprints)\.json\.bad-\d+$/.test(name))).toHaveLength(2);
  const refused = second.gateway.decisions('replica.not_adopted').map(({ replica, msg }) => [replica, msg]);
  expect(refused).toEqual([[ready.id, expect.stringContaining('its record in state_dir is damaged')]]);
  const answers = [await second.clients.chat('ready'), await second.clients.chat('other')];
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  expect(answers[1]?.headers['x-vgw-replica']).toBe(other.id);
  await eventually('one engine of each is left', async () => {
    const leaders = (await enginesOf(second.gateway.gatewayId ?? '')).filter(({ leads }) => leads);
    return leaders.length === 2 && !leaders.some(({ replica }) => replica === ready.id);
  });
});
