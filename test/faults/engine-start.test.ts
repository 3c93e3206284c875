/** The start of an engine goes wrong in every way there is: whoever waits is told once and why, and nothing is left behind. */
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorOf, type ClientAnswer } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { fakeVenv } from '../support/fake-venv.ts';
import { fakeVllmPath } from '../support/fake-vllm.ts';
import {
  atRest,
  factsOf,
  faultGatewayOn,
  nothingLeftOf,
  processesOf,
  type FaultGateway,
} from '../support/fault-gateway.ts';
import { ownPorts } from '../support/simulated-fleet.ts';
import { ESTIMATE_MIB, watchedGpus, type WatchedGpus, type WatchedModel } from '../support/watched-gpus.ts';

/** The first two belong to everybody; the others to one model each, whose memory is in the way of nobody. */
const GIB = [40, 13, 13];
/** Far less than any rest, and more than a busy machine takes. */
const TOLD_AT_ONCE_MS = 10_000;
/** More than a program needs for its first word, on a busy machine too. */
const SILENCE_MS = 4_000;
const FETCH_MS = 5_000;

let gpus: WatchedGpus;
let fault: FaultGateway;
let stranger: Server;

/** Its fault strikes in the first start alone. */
function onlyOnce(folder: string, name: string, what: string): WatchedModel['keys'] {
  const mark = join(folder, `${name}-started`);
  const script = `if mkdir '${mark}' 2>/dev/null; then export FAKE_VLLM_FAULT=${what}; fi; exec "$0" "$@"`;
  return { command: ['sh', '-c', script, process.execPath, fakeVllmPath()] };
}

function models(folder: string, uuids: readonly string[]): readonly WatchedModel[] {
  const venv = fakeVenv(join(folder, 'venv'));
  const first = { devices: [uuids[0]] };
  const fetched = { ...first, command: [venv], repo: 'org/fetched', memory: '6GiB' };
  return [
    { name: 'sound', keys: first },
    { name: 'missing', keys: { ...first, command: ['no-such-engine-here'] } },
    { name: 'crashing', knobs: { FAULT: 'crash_at:load' }, keys: first },
    { name: 'ending', knobs: { FAULT: 'exit0_at:load' }, keys: first },
    { name: 'hanging', knobs: { FAULT: 'hang_at:load', PROCESSES: 2 }, keys: { ...first, start_timeout: '2s' } },
    {
      name: 'undead',
      knobs: { FAULT: 'hang_at:graphs', VRAM_RELEASE_MS: 'never' },
      keys: { devices: [uuids[2]], start_timeout: '3s', stop_timeout: '2s' },
    },
    { name: 'looping', knobs: { FAULT: 'die_at_ready_after:200' }, keys: first },
    { name: 'tight', keys: { ...onlyOnce(folder, 'tight', 'kv_too_small'), devices: [uuids[1]] } },
    { name: 'idle', keys: { devices: [uuids[1]] } },
    { name: 'taken', keys: { ...onlyOnce(folder, 'taken', 'port_in_use'), ...first } },
    { name: 'stalling', knobs: { FETCH_FAULT: 'hang' }, keys: { ...fetched, start_stall_timeout: `${SILENCE_MS}ms` } },
    { name: 'fetched', knobs: { FETCH_MS }, keys: { ...fetched, start_stall_timeout: `${SILENCE_MS}ms` } },
  ];
}

beforeAll(async () => {
  gpus = watchedGpus('start', GIB);
  // Somebody sits on the first port that an engine could get.
  stranger = createServer().listen(Number(ownPorts().split('-')[0]), '127.0.0.1');
  fault = await faultGatewayOn(gpus, models(gpus.folder, gpus.uuids));
});

afterAll(async () => {
  const id = fault.gateway.gatewayId ?? '';
  await fault[Symbol.asyncDispose]();
  gpus[Symbol.dispose]();
  stranger.close();
  await noEngineLeft(id);
});

/** Launches, those included that failed before there was a process. */
const starts = (model: string): number =>
  fault.gateway.decisions('replica.starting').filter((entry) => entry.model === model).length;

/** The refusal of a start, in full; its own logs stay with the operator. */
function refused(answer: ClientAnswer, cause: string): Record<string, unknown> {
  const error = errorOf(answer);
  expect([answer.status, error['code'], error['cause']]).toEqual([503, 'model_start_failed', cause]);
  expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  expect(answer.text).not.toMatch(/Traceback|File \\?"/);
  return error;
}

/** Whoever comes next is told that it rests, and no engine is started for it. */
async function rests(model: string, cause: string): Promise<ClientAnswer> {
  const before = starts(model);
  const answer = await fault.clients.chat(model);
  expect(errorOf(answer)).toMatchObject({ code: 'model_backing_off', cause });
  expect(answer.tookMs).toBeLessThan(TOLD_AT_ONCE_MS);
  expect(starts(model)).toBe(before);
  return answer;
}

async function othersServe(): Promise<void> {
  expect((await fault.clients.chat('sound')).status).toBe(200);
}

async function logOf(model: string): Promise<readonly string[]> {
  const answer = await fetch(`${fault.gateway.url}/gateway/replicas/${model}/logs?tail=50`);
  expect(answer.status).toBe(200);
  return (await answer.text()).trimEnd().split('\n');
}

it('[F36] a program that is not there fails at once, without a process, and no repetition helps', async () => {
  const answer = await fault.clients.chat('missing');
  expect(answer.tookMs).toBeLessThan(TOLD_AT_ONCE_MS);
  expect(refused(answer, 'bad_arguments')['message']).toMatch(/no-such-engine-here/);
  expect(answer.headers['x-should-retry']).toBe('false');
  await rests('missing', 'bad_arguments');
  expect(await processesOf(fault.gateway, 'missing')).toEqual([]);
  await othersServe();
});

it.each([
  ['[F37] an engine that ends with 1 while it loads', 'crashing', 'exit code 1'],
  ['[F38] an engine that ends with 0 before it is ready', 'ending', 'exit code 0'],
])('%s is a failed start; what it printed is for operators alone', async (_title, model, says) => {
  const waiting = await fault.clients.chats(5, model);
  for (const answer of waiting) expect(refused(answer, 'crashed')['message']).toContain(says);
  expect(starts(model)).toBe(1);
  await rests(model, 'crashed');
  const lines = await logOf(model);
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.length).toBeLessThanOrEqual(50);
  expect(waiting[0]?.text).not.toContain(lines.at(-1));
  await nothingLeftOf(fault.gateway, model);
  await othersServe();
});

it('[F39] an engine that never becomes ready is ended with all its processes at its hard limit, and its memory is free', async () => {
  const asked = fault.clients.chats(3, 'hanging');
  await eventually('both its processes run', async () => (await processesOf(fault.gateway, 'hanging')).length === 2);
  for (const answer of await asked) expect(refused(answer, 'start_timeout')['message']).toMatch(/start_timeout/);
  await nothingLeftOf(fault.gateway, 'hanging');
  await eventually('nothing is promised to it', async () => {
    const { replicas } = await factsOf(fault.gateway);
    return !Object.values(replicas).some(({ model }) => model === 'hanging');
  });
  await othersServe();
});

it('[F39] memory that such an engine does not give back closes its device, and is promised to nobody else', async () => {
  const device = gpus.uuids[2] ?? '';
  const answer = await fault.clients.chat('undead');
  refused(answer, 'start_timeout');
  await nothingLeftOf(fault.gateway, 'undead');
  const zombie = await eventually('it is a zombie', async () => {
    const facts = await factsOf(fault.gateway);
    return Object.values(facts.replicas).find(({ model, state }) => model === 'undead' && state === 'zombie');
  });
  expect(zombie.reserved_mib).toBeGreaterThan(0);
  const closed = (await factsOf(fault.gateway)).devices[device];
  expect(closed).toMatchObject({ state: 'quarantined', reason: expect.stringContaining(device) });
  expect(closed?.reserved_mib).toBeGreaterThanOrEqual(zombie.reserved_mib);
  await othersServe();
  gpus.change((vram) => {
    vram.claims = Object.fromEntries(Object.entries(vram.claims).filter(([, { mib }]) => mib[device] === undefined));
  });
  await eventually('the device is open again', async () => {
    const { state, reserved_mib: reserved } = (await factsOf(fault.gateway)).devices[device] ?? {};
    return state === 'free' && reserved === 0;
  });
});

it('[F40] an engine that dies as soon as it is ready rests longer each time, and nobody else notices [I-13]', async () => {
  const momentsOf = (...events: readonly string[]): readonly number[] =>
    fault.gateway.log
      .filter(({ model, event = '' }) => model === 'looping' && events.includes(event))
      .map(({ time }) => Date.parse(time));
  await fetch(`${fault.gateway.url}/gateway/models/looping/pin`, { method: 'POST' });
  let served = 0;
  await eventually('it was started four times', async () => {
    expect((await fault.clients.chat('sound')).status).toBe(200);
    served += 1;
    return momentsOf('replica.starting').length >= 4;
  });
  // One that dies before it was seen to be ready is a failed start.
  const deaths = momentsOf('replica.crashed', 'model.backing_off');
  const [, , third = 0, fourth = 0] = momentsOf('replica.starting');
  const restBefore = (start: number): number => start - Math.max(...deaths.filter((at) => at <= start));
  // The first time at once, then after a second, then after two; each rest is a quarter shorter or longer by chance.
  expect(restBefore(third)).toBeGreaterThanOrEqual(740);
  expect(restBefore(fourth)).toBeGreaterThanOrEqual(1_490);
  expect(served).toBeGreaterThan(10);
  await fetch(`${fault.gateway.url}/gateway/models/looping/unpin`, { method: 'POST' });
  await fetch(`${fault.gateway.url}/gateway/models/looping/unload`, { method: 'POST' });
});

it('[F41] a start that runs out of memory is planned larger by what it lacked, and then an idle neighbour leaves for it', async () => {
  expect((await fault.clients.chat('idle')).status).toBe(200);
  const need = async (): Promise<number> => (await factsOf(fault.gateway)).models['tight']?.need?.total_mib ?? 0;
  refused(await fault.clients.chat('tight'), 'out_of_memory');
  expect(await need()).toBeGreaterThan(ESTIMATE_MIB + 400);
  const served = await eventually('its rest is over', async () => {
    const answer = await fault.clients.chat('tight');
    return answer.status === 200 || errorOf(answer)['code'] !== 'model_backing_off' ? answer : null;
  });
  expect([served.status, starts('tight')]).toEqual([200, 2]);
  expect(fault.gateway.decisions('replica.evicted').map(({ model }) => model)).toContain('idle');
});

it('[F43] a port that somebody else has is not given to an engine; one that is lost in a race costs a second start', async () => {
  const answer = await fault.clients.chat('taken');
  expect(answer.status).toBe(200);
  expect(starts('taken')).toBe(2);
  const { active_containers: engines } = await factsOf(fault.gateway);
  const first = Number(ownPorts().split('-')[0]);
  expect(Object.values(engines).map(({ port }) => port)).not.toContain(first);
});

it('[F51] a download that stalls is given up without memory promised to it; one that moves may last longer than its limit for silence', async () => {
  const asked = fault.clients.chat('stalling');
  await eventually('it fetches', async () => (await factsOf(fault.gateway)).models['stalling']?.preparation !== null);
  expect((await factsOf(fault.gateway)).models['stalling']?.replicas).toEqual([]);
  expect(refused(await asked, 'start_timeout')['message']).toMatch(/start_stall_timeout/);
  expect(starts('stalling')).toBe(0);
  await rests('stalling', 'start_timeout');
  // Longer than start_stall_timeout, but not without a word.
  const answer = await fault.clients.chat('fetched');
  expect([answer.status, answer.tookMs > FETCH_MS]).toEqual([200, true]);
  const metrics = await (await fetch(`${fault.gateway.url}/metrics`)).text();
  expect(metrics).toMatch(/cold_start_seconds_count\{model="fetched",phase="weights"\} 1/);
});

it('after all of it nobody waits, and what is sound serves [I-27]', async () => {
  await othersServe();
  await atRest(fault.gateway);
});
