/** The compiled command line as child processes: against a running gateway, and on its own. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandAnswer, decisionEvent, statusAnswer } from '../../src/admin/contract.ts';
import { runCommand, type CommandOptions, type CommandResult } from '../support/command.ts';
import { modelStatus } from '../support/engine-view.ts';
import { eventually } from '../support/eventually.ts';
import { runProgram } from '../support/gateway-process.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';

const SCHEMA = fileURLToPath(new URL('../../gateway.schema.json', import.meta.url));
const KEY = 'sk-of-the-operator';

let gateway: TestGateway;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-command-'));
  const env = { ...QUICK, FAKE_VLLM_LOG_EVERY_MS: '20' };
  gateway = await startTestGateway({
    yaml: gatewayYaml({
      'org/chatty': { repo: 'org/chatty', aliases: ['chatty'], env },
      quiet: { repo: 'org/quiet', env: QUICK },
      broken: { repo: 'org/broken', env: { ...QUICK, FAKE_VLLM_FAULT: 'oom_at_start' } },
    }),
    env: { GATEWAY_ADMIN_KEY: KEY },
    adminKey: KEY,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function remote(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runCommand(args, { ...options, env: { GATEWAY_URL: gateway.url, GATEWAY_ADMIN_KEY: KEY, ...options.env } });
}

function document<Value>(result: CommandResult, schema: { parse(value: unknown): Value }): Value {
  expect(result.stdout.trimEnd().split('\n')).toHaveLength(1);
  return schema.parse(JSON.parse(result.stdout));
}

describe('against a running gateway', () => {
  it('load waits until the model is ready, unload until its engine is gone', async () => {
    const loaded = await remote(['load', 'chatty']);
    expect(loaded).toMatchObject({ code: 0, stderr: '' });
    expect(loaded.stdout).toMatch(/^org\/chatty is ready(?: after .+)?\.\n$/);
    expect(await modelStatus(gateway, 'org/chatty')).toMatchObject({ state: 'ready' });
    const gone = await remote(['unload', 'org/chatty', '--json']);
    expect(document(gone, commandAnswer)).toEqual({
      model: 'org/chatty',
      command: 'unload',
      state: 'cold',
      done: true,
    });
    expect(await modelStatus(gateway, 'org/chatty')).toMatchObject({ state: 'cold', replicas: [] });
  });

  it('load tells why an engine does not start, and which models there are', async () => {
    const [broken, unknown] = await Promise.all([remote(['load', 'broken']), remote(['load', 'nothing'])]);
    expect(broken.code).toBe(1);
    expect(broken.stderr).toMatch(/could not be started: .*memory.*\(model_start_failed\)/);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(
      /No model is called 'nothing'; there are: org\/chatty, quiet, broken\. \(model_not_found\)/,
    );
  });

  it('pin keeps a model until unpin', async () => {
    const pinned = await remote(['pin', 'quiet', '--json']);
    expect(document(pinned, commandAnswer)).toMatchObject({ model: 'quiet', command: 'pin' });
    expect(await modelStatus(gateway, 'quiet')).toMatchObject({ pinned_by: 'operator' });
    const free = await remote(['unpin', 'quiet']);
    expect(free).toMatchObject({ code: 0, stderr: '' });
    expect(await modelStatus(gateway, 'quiet')).toMatchObject({ pinned_by: null });
  });

  it('status prints a table for people and one document for programs', async () => {
    const [people, programs] = await Promise.all([remote(['status']), remote(['status', '--json'])]);
    for (const name of ['org/chatty', 'quiet', 'broken']) expect(people.stdout).toContain(name);
    expect(people).toMatchObject({ code: 0, stderr: '' });
    expect(people.stdout).not.toContain('\u001b');
    expect(Object.keys(document(programs, statusAnswer).models)).toEqual(['org/chatty', 'quiet', 'broken']);
  });

  it('logs prints the end of a log, and with -f goes on as lines are written', async () => {
    await remote(['load', 'chatty']);
    const tail = await remote(['logs', 'org/chatty', '-n', '3']);
    expect(tail.code).toBe(0);
    expect(tail.stdout.trimEnd().split('\n')).toHaveLength(3);
    expect(tail.stderr).toMatch(/log of org-chatty-/);
    const numbers = (text: string): number => (text.match(/\n/g) ?? []).length;
    const followed = await remote(['logs', 'org/chatty', '-f', '-n', '1'], { enough: (text) => numbers(text) > 5 });
    expect(numbers(followed.stdout)).toBeGreaterThan(5);
    expect(followed.stdout).toMatch(/^simulated \(APIServer pid=\d+\)/m);
    const failed = await remote(['logs', 'broken']);
    expect(failed).toMatchObject({ code: 0, stdout: expect.stringContaining('Engine core initialization failed') });
    expect(failed.stderr).toContain('whose engine is gone');
  });

  it('events prints what was decided, and with -f goes on as decisions are made', async () => {
    await remote(['unload', 'org/chatty']);
    const past = await remote(['events', '--json']);
    const decisions = past.stdout
      .trimEnd()
      .split('\n')
      .map((line) => decisionEvent.parse(JSON.parse(line)));
    expect(decisions.map(({ seq }) => seq)).toEqual(decisions.map((_entry, index) => (decisions[0]?.seq ?? 0) + index));
    expect(decisions.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['replica.ready', 'replica.start_failed']),
    );
    const ready = (text: string): number => (text.match(/replica\.ready/g) ?? []).length;
    const before = decisions.filter(({ kind }) => kind === 'replica.ready').length;
    const following = remote(['events', '-f'], { enough: (text) => ready(text) > before });
    await remote(['load', 'org/chatty']);
    const { stdout } = await following;
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} {2}replica\.ready {2,}org-chatty-\w+ {2}Ready after/,
    );
  });

  it('a wrong key, and an address without a gateway, are told in a sentence', async () => {
    const [wrong, nobody, strange] = await Promise.all([
      remote(['load', 'quiet'], { env: { GATEWAY_ADMIN_KEY: 'sk-wrong' } }),
      remote(['status', '--url', 'http://127.0.0.1:9']),
      remote(['status', '--url', 'ftp://somewhere']),
    ]);
    expect(wrong).toMatchObject({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(/\(invalid_api_key\)\nThe key of this command comes from GATEWAY_ADMIN_KEY\.\n$/);
    expect(nobody).toMatchObject({ code: 1, stdout: '' });
    expect(nobody.stderr).toContain('No gateway answers at http://127.0.0.1:9');
    expect(strange.code).toBe(2);
  });
});

describe('check', () => {
  const good =
    'models:\n  small:\n    repo: org/small\n    driver: process\n    memory: 4GiB\n    max_model_len: 2048\n';

  async function check(yaml: string, ...flags: string[]): Promise<CommandResult> {
    const file = join(folder, `check-${flags.length}-${yaml.length}.yaml`);
    await writeFile(file, yaml);
    return runCommand(['check', '--config', file, ...flags], { cwd: folder });
  }

  it('exits with 0 on a good file, and prints what holds', async () => {
    const [people, programs] = await Promise.all([check(good), check(good, '--json')]);
    expect(people.code).toBe(0);
    expect(people.stdout).toContain('max_queue_size: 200');
    expect(people.stderr).toMatch(/ok: 0 errors/);
    const report = JSON.parse(programs.stdout) as { ok: boolean; effective: { models: Record<string, unknown> } };
    expect(report.ok).toBe(true);
    expect(report.effective.models['small']).toMatchObject({ repo: 'org/small', max_queue_size: 200 });
  });

  it('exits with 1 on a bad one, and names every problem with its place', async () => {
    const bad = `${good}    max_que_size: 5\nlimits:\n  max_concurrent: 0\n`;
    const [people, programs] = await Promise.all([check(bad), check(bad, '--json')]);
    expect(people.code).toBe(1);
    expect(people.stderr).toMatch(/:7:\d+: .*max_que_size.*did you mean.*max_queue_size/);
    expect(people.stderr).toMatch(/:9:\d+: limits\.max_concurrent: /);
    expect(programs.code).toBe(1);
    const report = JSON.parse(programs.stdout) as { ok: boolean; problems: { line: number; severity: string }[] };
    expect(report.ok).toBe(false);
    expect(report.problems.filter(({ severity }) => severity === 'error').map(({ line }) => line)).toEqual([7, 9]);
  });

  it('exits with 1 on a warning only when it is to be strict', async () => {
    const warned = good.replace('    max_model_len: 2048\n', '').replace('    memory: 4GiB\n', '');
    const [lenient, strict] = await Promise.all([check(warned), check(warned, '--strict')]);
    expect(lenient.stderr).toMatch(/[1-9]\d* warnings?/);
    expect([lenient.code, strict.code]).toEqual([0, 1]);
  });
});

it('schema prints the schema that is in the repository', async () => {
  const { code, stdout } = await runCommand(['schema']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(SCHEMA, 'utf8')));
});

describe('serve refuses', () => {
  it('bad usage, with 2', async () => {
    const runs = await Promise.all([
      runCommand(['lode', 'x']),
      runCommand(['serve', '--log-level', 'loud']),
      runCommand(['serve'], { cwd: folder }),
    ]);
    expect(runs.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(runs.map(({ stdout }) => stdout)).toEqual(['', '', '']);
    expect(runs[0]?.stderr).toContain('Did you mean one of load, logs?');
    for (const way of ['ALLOWED_MODELS_JSON', '--config', 'gateway.yaml']) expect(runs[2]?.stderr).toContain(way);
  });

  it('a port or a state_dir that another holds, with 3', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const address = holder.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const file = join(folder, 'serve.yaml');
    await writeFile(file, `${gatewayYaml({ a: { repo: 'org/a' } })}\n`);
    const args = ['serve', '--config', file, '--listen', `127.0.0.1:${port}`];
    const [taken, held] = await Promise.all([
      runCommand(args, { env: { GATEWAY_STATE_DIR: join(folder, 'state') } }),
      runCommand(['serve', '--config', file, '--listen', '127.0.0.1:0'], {
        env: { GATEWAY_STATE_DIR: join(gateway.folder, 'data') },
      }),
    ]);
    holder.close();
    expect(taken.code).toBe(3);
    expect(taken.stderr).toMatch(/Cannot listen on http:\/\/127\.0\.0\.1:\d+: .*EADDRINUSE/);
    expect(held.code).toBe(3);
    expect(held.stderr).toContain(join(gateway.folder, 'data'));
  });
});

it('demo listens, and the line that it prints works', async () => {
  const demo = runProgram(await mkdtemp(join(tmpdir(), 'vgw-demo-')), ['demo'], {
    GATEWAY_LISTEN: '127.0.0.1:0',
    FAKE_VLLM_SPEED: '20',
  });
  await using _ = demo;
  const line = await eventually('the banner is printed', () => /^ +(curl .*)$/m.exec(demo.stdout)?.[1]);
  const [, url = '', body = ''] = /^curl (\S+) -H 'content-type: application\/json' -d '(.*)'$/.exec(line) ?? [];
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  expect(answer.status).toBe(200);
  const { model } = JSON.parse(body) as { model: string };
  expect(await answer.json()).toMatchObject({ model, choices: [{ message: { role: 'assistant' } }] });
  const { data } = (await (await fetch(new URL('/v1/models', url))).json()) as { data: { owned_by: string }[] };
  expect(data.map((entry) => entry.owned_by)).toEqual(['simulated', 'simulated', 'simulated']);
  demo.signal('SIGTERM');
  expect(await demo.exit).toEqual({ code: 0, signal: null });
});
