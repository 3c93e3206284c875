/** The process itself: killed again and again, with nobody who reads what it says, and with a bug in it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { builtProgram } from '../support/built-program.ts';
import { endOf, errorOf } from '../support/clients.ts';
import { enginesOf, noEngineLeft } from '../support/engine-processes.ts';
import { recordsIn } from '../support/engine-records.ts';
import { eventually } from '../support/eventually.ts';
import { atRest, factsOf, faultGateway, type FaultGateway } from '../support/fault-gateway.ts';
import type { GatewayProcess, GatewayProcessOptions } from '../support/gateway-process.ts';
import { openStream } from '../support/open-stream.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

const MODELS = ['one', 'two', 'slow'] as const;
const KILLS = 10;
const ENDS_WITHIN_MS = 8_000;

const gatewayIds = new Set<string>();

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
});

async function started(options: GatewayProcessOptions): Promise<FaultGateway> {
  const fault = await faultGateway(options);
  gatewayIds.add(fault.gateway.gatewayId ?? '');
  return fault;
}

async function leaders(gateway: GatewayProcess): Promise<readonly string[]> {
  const all = await enginesOf(gateway.gatewayId ?? '');
  return all.filter(({ leads }) => leads).map(({ replica }) => replica.slice(0, replica.lastIndexOf('-')));
}

it(`[F99] killed ${KILLS} times under load and at its starts, it leaves no engine twice and none behind`, async () => {
  const yaml = simulatedYaml(
    MODELS.map((name) => ({
      name,
      knobs: { PROCESSES: name === 'one' ? 2 : 1, START_MS: name === 'slow' ? 900 : 150 },
    })),
  );
  await using first = await started({ yaml });
  const { folder } = first.gateway;
  let { gateway, clients } = first;
  for (let kill = 0; kill < KILLS; kill += 1) {
    let answered = 0;
    const load = MODELS.flatMap((model) =>
      [1, 2, 3].map(async (turn) => {
        const answer = await clients.chat(model, { stream: turn === 1 }).catch(() => null);
        answered += 1;
        return answer;
      }),
    );
    // Somewhere between the first launch and the last answer, each time later.
    await eventually('it is in the middle of it', () => answered >= kill % 7 && recordsIn(gateway.stateDir).length > 0);
    await gateway.kill();
    await Promise.all(load);
    await clients[Symbol.asyncDispose]();
    const running = await leaders(gateway);
    expect(running).toEqual([...new Set(running)]);
    ({ gateway, clients } = await started({ yaml, folder }));
  }
  for (const model of MODELS) expect([model, endOf(await clients.chat(model))]).toEqual([model, '200']);
  await eventually('one engine of each', async () => {
    const running = (await leaders(gateway)).toSorted();
    return JSON.stringify(running) === JSON.stringify([...MODELS].toSorted());
  });
  const { replicas } = await factsOf(gateway);
  expect(
    Object.values(replicas)
      .map(({ model }) => model)
      .toSorted(),
  ).toEqual([...MODELS].toSorted());
  gateway.signal('SIGTERM');
  expect(await gateway.exit).toEqual({ code: 0, signal: null });
  await clients[Symbol.asyncDispose]();
  expect(await enginesOf(gateway.gatewayId ?? '')).toEqual([]);
  expect(recordsIn(gateway.stateDir)).toEqual([]);
}, 120_000);

it('[F89] it serves and ends as ever when nobody reads what it prints', async () => {
  await using fault = await started({
    yaml: simulatedYaml([{ name: 'one' }], 'log: { level: debug }'),
  });
  const { gateway, clients } = fault;
  expect((await clients.chat('one')).status).toBe(200);
  gateway.stopReading();
  const slowest: number[] = [];
  // Each is a line of some hundred bytes; a pipe takes 64 KiB, and the reader's own buffer as much again.
  for (let round = 0; round < 10; round += 1) {
    const answers = await clients.chats(100, 'one');
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    slowest.push((await clients.get('/healthz')).tookMs);
  }
  expect(Math.max(...slowest)).toBeLessThan(1_000);
  await atRest(gateway);
  const since = performance.now();
  gateway.signal('SIGTERM');
  expect(await gateway.exit).toEqual({ code: 0, signal: null });
  expect(performance.now() - since).toBeLessThan(ENDS_WITHIN_MS);
});

interface Bug {
  /** Of the built program, below `src/`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Node with a bug in one file of the program, which stays as it is on disk. */
function nodeWith(folder: string, { file, find, replace }: Bug): readonly string[] {
  const target = new URL(file, `file://${builtProgram()}`).href;
  const loader = join(folder, 'loader.mjs');
  writeFileSync(
    loader,
    `export async function load(url, context, next) {
      const loaded = await next(url, context);
      if (url !== ${JSON.stringify(target)}) return loaded;
      const parts = String(loaded.source).split(${JSON.stringify(find)});
      if (parts.length !== 2) throw new Error('the bug does not fit');
      return { ...loaded, source: parts.join(${JSON.stringify(replace)}) };
    }`,
  );
  const preload = join(folder, 'preload.mjs');
  writeFileSync(preload, `import { register } from 'node:module'; register(${JSON.stringify(`file://${loader}`)});`);
  return ['--import', preload];
}

describe('[F101] a bug [I-70]', () => {
  const yaml = simulatedYaml([{ name: 'one' }, { name: 'victim', keys: ['inactivity_timeout: 1s'] }]);
  const A_WHILE = { tokens: 100, token_ms: 20 };

  async function buggy(bug: Bug): Promise<FaultGateway> {
    const folder = mkdtempSync(join(tmpdir(), 'vgw-bug-'));
    try {
      return await started({ yaml, node: nodeWith(folder, bug) });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it.each([
    [
      'before its body is read',
      'proxy/front.js',
      '    infer(incoming, target, route, principal, visit) {',
      "if (incoming.request.headers['x-bug']) throw new Error('planted'); ",
    ],
    [
      'once its body is read',
      'proxy/exchange.js',
      '    admit() {',
      "if (this.options.request.headers['x-bug']) throw new Error('planted'); ",
    ],
    [
      'when it gets its lease',
      'proxy/exchange.js',
      "        this.phase = 'leased';",
      "if (this.options.request.headers['x-bug']) throw new Error('planted'); ",
    ],
  ])(
    'in the handling of one request, %s, is that request s alone: 500, and everybody else is served',
    async (_when, file, find, add) => {
      await using fault = await buggy({ file, find, replace: `${find} ${add}` });
      const { gateway, clients } = fault;
      const stream = await openStream(clients, 'one', A_WHILE);
      for (const streamed of [false, true, false]) {
        const answer = await clients.chat('one', { headers: { 'x-bug': '1' }, stream: streamed });
        expect([answer.status, errorOf(answer)['code']]).toEqual([500, 'internal_error']);
        expect(answer.text).not.toMatch(/planted/);
      }
      expect((await clients.chat('one')).status).toBe(200);
      const { frames, broken } = await stream.end;
      expect([frames.at(-1)?.data, broken]).toEqual(['[DONE]', false]);
      expect(gateway.log.filter(({ msg }) => msg === 'a request failed in the gateway')).toHaveLength(3);
      await atRest(gateway);
    },
  );

  it.each([
    [
      'a decision that a request asked for',
      'core/admission/admit.js',
      'export function ticketArrived(run, event) {',
      "if (event.model === 'victim') throw new Error('planted');",
    ],
    [
      'a decision that time asked for',
      'core/step.js',
      "case 'time.passed':",
      "if (run.state.models.get('victim')?.current) throw new Error('planted');",
    ],
    [
      'a rejection that nobody awaits',
      'proxy/exchange.js',
      '    admit() {',
      "if (this.options.request.headers['x-bug']) void Promise.reject(new Error('planted'));",
    ],
  ] as const)('in %s ends the process with 70, and its engines with it', async (_what, file, find, add) => {
    await using fault = await buggy({ file, find, replace: `${find} ${add}` });
    const { gateway, clients } = fault;
    expect((await clients.chat('one')).status).toBe(200);
    expect(await leaders(gateway)).toEqual(['one']);
    const asked = clients.chat('victim', { headers: { 'x-bug': '1' } }).catch(() => null);
    expect(await gateway.exit).toEqual({ code: 70, signal: null });
    const answer = await asked;
    if (answer !== null && answer.status !== 200) expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(gateway.stderr).toMatch(/internal error: Error: planted/);
    expect(await enginesOf(gateway.gatewayId ?? '')).toEqual([]);
  });
});
