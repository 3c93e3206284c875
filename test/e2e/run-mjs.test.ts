/** `npm start` and `npm test` on a clean clone, as README promises them. One clone: the steps build on each other. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { cloneWorkingTree, freePort, type Clone, type Command } from '../support/clone.ts';

const INSTALL = 240_000;
const START = 60_000;

/** What hurts an install that only passes its environment on. */
const HOSTILE = {
  NODE_ENV: 'production',
  npm_config_omit: 'dev',
  NPM_CONFIG_PRODUCTION: 'true',
  npm_config_ignore_scripts: 'true',
  npm_config_prefer_offline: 'true',
};

let clone: Clone;
let port: number;

beforeAll(async () => {
  clone = cloneWorkingTree();
  port = await freePort();
});

afterAll(() => {
  clone[Symbol.dispose]();
});

async function untilHealthy(command: Command, timeout: number): Promise<void> {
  let over = false;
  void command.ended.then(() => {
    over = true;
  });
  await vi.waitFor(
    async () => {
      if (over) return;
      const answer = await fetch(`http://127.0.0.1:${port}/healthz`);
      expect(answer.status).toBe(200);
    },
    { timeout, interval: 50 },
  );
  if (over) throw new Error(`ended before it listened:\n${command.output()}`);
}

/** The name of the model that answered. */
async function ask(model: string): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] }),
  });
  return ((await answer.json()) as { readonly model?: unknown }).model;
}

async function status(): Promise<{ readonly models: Readonly<Record<string, { readonly state: string }>> }> {
  const answer = await fetch(`http://127.0.0.1:${port}/gateway/status`);
  return (await answer.json()) as Awaited<ReturnType<typeof status>>;
}

function lastLine(command: Command): string {
  return command.stdout().trimEnd().split('\n').at(-1) ?? '';
}

async function untilNoProcessIsLeft(): Promise<void> {
  await vi.waitFor(() => expect(clone.processes()).toEqual([]), { timeout: 20_000, interval: 50 });
}

function start(args: readonly string[] = []): Command {
  return clone.run('npm', ['start', ...args], { ...HOSTILE, GATEWAY_LISTEN: `127.0.0.1:${port}` });
}

describe('a clean clone', () => {
  it(
    'starts and tests itself with one command each, both at once, whatever npm was told',
    async () => {
      const gateway = start();
      const tests = clone.run('npm', ['test', '--', 'test/support/source-tree.test.ts'], HOSTILE);
      await untilHealthy(gateway, INSTALL);
      const { code } = await tests.ended;
      expect(tests.output()).toMatch(/waiting for another run|installing packages/);
      expect(lastLine(tests)).toMatch(/^[1-9]\d* passed, 0 failed$/);
      expect(code).toBe(0);

      process.kill(gateway.pid, 'SIGTERM');
      await gateway.ended;
      await untilNoProcessIsLeft();
      expect(existsSync(join(clone.path, '.cache', 'run.lock'))).toBe(false);
    },
    INSTALL,
  );

  it(
    'installs and compiles nothing at the second start',
    async () => {
      const before = performance.now();
      const gateway = start();
      await untilHealthy(gateway, START);
      // The promise is 2 s on a machine of its own; this one runs other tests at the same time.
      expect(performance.now() - before).toBeLessThan(10_000);
      expect(gateway.output()).not.toMatch(/installing|compiling|building/);
      process.kill(gateway.pid, 'SIGINT');
      await gateway.ended;
      await untilNoProcessIsLeft();
    },
    START,
  );

  it(
    'shows a command that works, and makes room for the third demo model by letting the least recently used one go',
    async () => {
      const gateway = start();
      await untilHealthy(gateway, START);
      const shown = /^\s*(curl .*)$/m.exec(gateway.output())?.[1] ?? 'false';
      const curl = clone.run('sh', ['-c', shown]);
      expect((await curl.ended).code).toBe(0);
      expect(JSON.parse(curl.stdout())).toMatchObject({ object: 'chat.completion', model: 'llama-8b' });
      for (const model of ['qwen-7b', 'mistral-7b']) expect(await ask(model)).toBe(model);
      const states = Object.entries((await status()).models).map(([name, { state }]) => [name, state]);
      expect(Object.fromEntries(states)).toEqual({ 'llama-8b': 'cold', 'qwen-7b': 'ready', 'mistral-7b': 'ready' });
      process.kill(gateway.pid, 'SIGTERM');
      expect(await gateway.ended).toEqual({ code: 0, signal: null });
      await untilNoProcessIsLeft();
    },
    START,
  );

  it(
    'hands the arguments of `npm start` to `serve`',
    async () => {
      const gateway = start(['--', '--config', 'no-such-file.yaml']);
      const { code } = await gateway.ended;
      expect(gateway.output()).toContain('no-such-file.yaml');
      expect(code).toBe(2);
    },
    START,
  );

  it(
    'compiles again when a source changed, and takes over the lock of a run that died',
    async () => {
      const dead = clone.run('true', []);
      await dead.ended;
      mkdirSync(join(clone.path, '.cache'), { recursive: true });
      writeFileSync(join(clone.path, '.cache', 'run.lock'), `${dead.pid} 1`);
      appendFileSync(join(clone.path, 'src', 'units.ts'), '\nexport const ADDED = 4711;\n');
      const builds = [1, 2, 3].map(() => clone.run('node', ['tools/run.mjs', 'build']));
      for (const build of builds) expect((await build.ended).code).toBe(0);
      const outputs = builds.map((build) => build.output()).join('');
      expect(outputs.match(/compiling/g)).toHaveLength(1);
      expect(outputs).not.toContain('installing');
      expect(readFileSync(join(clone.path, 'dist', 'src', 'units.js'), 'utf8')).toContain('4711');
      expect(existsSync(join(clone.path, '.cache', 'run.lock'))).toBe(false);
    },
    START,
  );

  it(
    'says which source does not compile and runs nothing',
    async () => {
      const broken = join(clone.path, 'src', 'broken.ts');
      writeFileSync(broken, "export const text: number = 'x';\n");
      const gateway = start();
      const { code } = await gateway.ended;
      expect(code).not.toBe(0);
      expect(gateway.output()).toContain('src/broken.ts');
      writeFileSync(broken, 'export const text = 1;\n');
    },
    START,
  );
});

describe('npm test', () => {
  it(
    'counts passed, failed and skipped tests in its last line and fails when one failed',
    async () => {
      write('some.test.ts', [
        "it('passes', () => expect(1).toBe(1));",
        "it('fails', () => expect(1).toBe(2));",
        "it('is left out', ({ skip }) => skip());",
      ]);
      write('unloadable.test.ts', ["import './nothing.ts';"]);
      const tests = clone.run('npm', ['test', '--', 'src/some.test.ts', 'src/unloadable.test.ts']);
      const { code } = await tests.ended;
      expect(lastLine(tests)).toBe('1 passed, 2 failed, 1 skipped');
      expect(code).toBe(1);
    },
    START,
  );

  it(
    'ends with all its processes when npm gets SIGTERM',
    async () => {
      const marker = join(clone.path, 'hanging');
      write('hanging.test.ts', [
        "import { writeFileSync } from 'node:fs';",
        `it('hangs', async () => { writeFileSync(${JSON.stringify(marker)}, ''); await new Promise(() => {}); });`,
      ]);
      const tests = clone.run('npm', ['test', '--', 'src/hanging.test.ts']);
      await vi.waitFor(() => expect(existsSync(marker)).toBe(true), { timeout: START, interval: 50 });
      process.kill(tests.pid, 'SIGTERM');
      await tests.ended;
      await untilNoProcessIsLeft();
    },
    START,
  );

  it('[B198] says so when Node is too old', async () => {
    const preload = join(clone.path, 'old-node.cjs');
    writeFileSync(
      preload,
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.4' } });\n",
    );
    const build = clone.run('node', ['--require', preload, 'tools/run.mjs', 'build']);
    expect((await build.ended).code).toBe(1);
    expect(build.output()).toMatch(/Node 18\.20\.4 .* is too old: .* 20\.19/);
  });

  function write(name: string, lines: readonly string[]): void {
    writeFileSync(
      join(clone.path, 'src', name),
      ["import { expect, it } from 'vitest';", 'void expect;', ...lines, ''].join('\n'),
    );
  }
});
