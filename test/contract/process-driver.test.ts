/** What only processes can do to a driver. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LaunchError, type ExitReport } from '../../src/drivers/driver.ts';
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import type { Child, Platform } from '../../src/platform/platform.ts';
import { KIB } from '../../src/units.ts';
import { allLines, identityOf, stopOptions } from './driver-contract.ts';
import { freePort, processHarness, until, type ProcessHarness } from './process-harness.ts';

const ONE = identityOf('one-1');
let harness: ProcessHarness;

beforeEach(async () => {
  harness = await processHarness();
});
afterEach(async () => {
  await harness.close();
});

const recordPath = (): string => join(harness.stateDir, 'replicas', 'one-1.1.json');
const record = (): Record<string, unknown> => JSON.parse(readFileSync(recordPath(), 'utf8')) as Record<string, unknown>;
const rewrite = (more: Readonly<Record<string, unknown>>): void => {
  writeFileSync(recordPath(), JSON.stringify({ ...record(), ...more }));
};
const isLive = async (pid: number): Promise<boolean> => {
  const facts = await harness.platform.subprocess.inspect(pid);
  return facts !== undefined && facts.state !== 'Z';
};

async function launchStarted(script: string): Promise<number> {
  const { pid } = await harness.driver.launch(await harness.shell(script), ONE);
  await until(async () => (await harness.driver.tail(ONE, 1))[0] === 'started');
  return pid ?? 0;
}

describe('trees of processes', () => {
  it('[F44] [F50] end with their leader, with what left its group and with what outlived it', async () => {
    await launchStarted(
      'sleep 600 & setsid sleep 600 & (trap "" TERM; while :; do sleep 0.05; done) & echo started; exec sleep 600',
    );
    await until(async () => (await harness.members(ONE)).length >= 4);
    await harness.driver.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('are not gone when only their leader is: what is left is found, told, and ended', async () => {
    const exits: ExitReport[] = [];
    harness.driver.watch((exit) => exits.push(exit));
    await harness.driver.launch(await harness.shell('sleep 600 & exit 0'), ONE);
    await until(() => exits.length === 1);
    const next = await harness.restart();
    expect(await next.list()).toMatchObject([{ id: ONE.id, usable: expect.stringContaining('main process is gone') }]);
    await next.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
    expect(await next.list()).toEqual([]);
  });

  it('count no zombies', async () => {
    await launchStarted('sleep 0.01 & echo started; exec sleep 600');
    await harness.driver.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('end when they were frozen', async () => {
    const pid = await launchStarted('echo started; exec sleep 600');
    harness.platform.subprocess.signal(-pid, 'SIGSTOP');
    await harness.driver.stop(ONE, stopOptions({ timeout: 3_000 }));
    expect(await harness.members(ONE)).toEqual([]);
  });
});

describe('records', () => {
  it('say what is to be launched before it exists, and its pid right after', async () => {
    const seen: unknown[] = [];
    const { platform } = harness;
    const watching: Platform = {
      ...platform,
      subprocess: {
        ...platform.subprocess,
        spawn(argv, options): Promise<Child> {
          seen.push(record());
          return platform.subprocess.spawn(argv, options);
        },
      },
    };
    const driver = new ProcessDriver({ platform: watching, stateDir: harness.stateDir, gatewayId: harness.gatewayId });
    const { pid } = await driver.launch(await harness.shell('exec sleep 600'), ONE);
    expect(seen).toMatchObject([
      { id: 'one-1', generation: 1, model: ONE.model, specHash: 'hash', pid: null, gateway: harness.gatewayId },
    ]);
    expect(record()).toMatchObject({ pid, startTime: expect.any(Number), reservations: [...ONE.reservations] });
    expect(statSync(recordPath()).mode & 0o777).toBe(0o600);
    await driver.close();
  });

  it('without a pid lead to the process all the same, by its environment', async () => {
    const pid = await launchStarted('sleep 600 & echo started; exec sleep 600');
    rewrite({ pid: null, startTime: null });
    const next = await harness.restart();
    expect(await next.list()).toMatchObject([{ id: ONE.id, usable: true, endpoint: { pid } }]);
    expect(record()).toMatchObject({ pid });
    next.adopt(ONE);
    await next.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('without a process are forgotten', async () => {
    const pid = await launchStarted('echo started; exec sleep 600');
    await harness.restart();
    harness.murder(ONE);
    await until(async () => !(await isLive(pid)));
    const next = await harness.restart();
    expect(await next.list()).toEqual([]);
    expect(readdirSync(join(harness.stateDir, 'replicas'))).toEqual([]);
  });

  it('[F48] are not fooled by a pid that was given to somebody else', async () => {
    const stranger = await harness.platform.subprocess.spawn(['sleep', '600'], {
      env: { PATH: process.env['PATH'] ?? '', VGW_GATEWAY: harness.gatewayId },
      output: 2,
    });
    const facts = await harness.platform.subprocess.inspect(stranger.pid);
    const pid = await launchStarted('echo started; exec sleep 600');
    const next = await harness.restart();
    harness.platform.subprocess.signal(pid, 'SIGKILL');
    await until(async () => !(await isLive(pid)));
    rewrite({ pid: stranger.pid, startTime: (facts?.startTime ?? 0) - 1 });
    await next.stop(ONE, stopOptions());
    expect(await isLive(stranger.pid)).toBe(true);
    rewriteNew({ pid: stranger.pid, startTime: (facts?.startTime ?? 0) - 1 });
    expect(await next.list()).toEqual([]);
    expect(await isLive(stranger.pid)).toBe(true);
  });

  it('of an earlier boot of the machine mean nothing', async () => {
    await launchStarted('echo started; exec sleep 600');
    rewrite({ boot: 'another' });
    const next = await harness.restart();
    expect(await next.list()).toEqual([]);
  });

  it('[F87] that are damaged lead to their engine all the same, which is ended', async () => {
    await launchStarted('setsid sleep 600 & echo started; exec sleep 600');
    writeFileSync(recordPath(), '{"format":1,');
    const next = await harness.restart();
    expect(await next.list()).toMatchObject([{ id: ONE.id, usable: expect.stringContaining('is damaged') }]);
    await next.stop(ONE, stopOptions());
    expect(await harness.members(ONE)).toEqual([]);
    expect(await next.list()).toEqual([]);
    expect(readdirSync(join(harness.stateDir, 'replicas'))).toEqual([]);
  });

  it('[F87] that cannot be read are put aside, and the others still count', async () => {
    await launchStarted('echo started; exec sleep 600');
    writeFileSync(join(harness.stateDir, 'replicas', 'broken.1.json'), '{"format":1,');
    const next = await harness.restart();
    expect(await next.list()).toHaveLength(1);
    expect(readdirSync(join(harness.stateDir, 'replicas'))).toContain('broken.1.json.unreadable');
  });
});

function rewriteNew(more: Readonly<Record<string, unknown>>): void {
  const fields = {
    ...{ format: 1, gateway: 'g', id: ONE.id, generation: 1, model: 'm', specHash: 'h', reservations: [] },
    ...{ host: '127.0.0.1', port: 1, launchedAt: 0 },
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  };
  writeFileSync(recordPath(), JSON.stringify({ ...fields, ...more }));
}

describe('launches that cannot be', () => {
  it.each([
    ['a folder', '/tmp', 'may not be executed'],
    ['nothing in PATH', 'no-such-engine-anywhere', 'not in PATH'],
  ])('name what is wrong with the command: %s', async (_name, command, words) => {
    const spec = { ...(await harness.shell('')), argv: [command, 'serve'] };
    await expect(harness.driver.launch(spec, ONE)).rejects.toMatchObject({
      failure: 'bad_arguments',
      message: expect.stringContaining(words),
    });
    expect(readdirSync(join(harness.stateDir, 'replicas'))).toEqual([]);
  });

  it('find out that the port is taken before the engine does', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const spec = { ...(await harness.shell('exec sleep 600')), port };
    const failure = await harness.driver.launch(spec, ONE).catch((error: unknown) => error);
    await new Promise((resolve) => server.close(resolve));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'port_in_use' });
    expect(await harness.members(ONE)).toEqual([]);
  });

  it('say when the state folder cannot be written, and start nothing', async () => {
    writeFileSync(join(harness.stateDir, 'replicas'), 'a file in the place of the folder');
    await expect(harness.driver.launch(await harness.shell('exec sleep 600'), ONE)).rejects.toMatchObject({
      failure: 'driver_unavailable',
      message: expect.stringContaining('state_dir'),
    });
    expect(await harness.members(ONE)).toEqual([]);
  });
});

describe('what an engine gets', () => {
  it('is its own variables over the allowed ones, and no secret of the gateway', async () => {
    await harness.close();
    harness = await processHarness({
      env: { GATEWAY_ADMIN_KEY: 'secret-of-gateway', HF_HOME: '/hf', VLLM_PORT: '8000' },
    });
    await harness.driver.launch(
      await harness.shell('env; echo started; exec sleep 600', { HF_HOME: '/mine', A: 'b' }),
      ONE,
    );
    await until(async () => (await harness.driver.tail(ONE, 1))[0] === 'started');
    const lines = await harness.driver.tail(ONE, 1_000);
    expect(lines).toEqual(expect.arrayContaining(['HF_HOME=/mine', 'A=b', 'VGW_REPLICA=one-1', 'SPT_NOENV=1']));
    expect(lines.join('\n')).not.toMatch(/secret-of-gateway|VLLM_PORT|NODE_/);
  });

  it('is one descriptor for its output, and none of the gateway stays open', async () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    await harness.driver.launch(await harness.shell('exec sleep 600'), ONE);
    const before = open();
    for (let index = 0; index < 10; index += 1) {
      const identity = identityOf(`more-${index}`);
      await harness.driver.launch(await harness.shell('exec sleep 600'), identity);
      await harness.driver.stop(identity, stopOptions());
    }
    expect(open()).toBeLessThanOrEqual(before + 2);
    const pid = Number(record()['pid']);
    const [input, output, errors] = [0, 1, 2].map((descriptor) => readlinkSync(`/proc/${pid}/fd/${descriptor}`));
    expect(input).toBe('/dev/null');
    expect(output).toBe(join(harness.stateDir, 'logs', 'one-1.1.log'));
    expect(errors).toBe(output);
  });
});

describe('logs', () => {
  it('are rotated under a running engine, keep every line, and stay bounded', async () => {
    await harness.close();
    harness = await processHarness({ rotateLogsAt: 4 * KIB });
    // Only the last line of a batch makes the log due for rotation; the next batch waits until that has happened.
    const script = `
      i=0; long=$(printf %04000d 0)
      for batch in 1 2 3; do
        while [ $i -lt $((batch * 200)) ]; do echo "line $i"; i=$((i+1)); done
        echo "end $batch $long"
        while [ "$(stat -c %s "$LOG")" -gt 0 ]; do sleep 0.02; done
      done
      echo started; exec sleep 600`;
    const log = join(harness.stateDir, 'logs', 'one-1.1.log');
    const lines: string[] = [];
    await harness.driver.launch(await harness.shell(script, { LOG: log }), ONE);
    const controller = new AbortController();
    const following = (async () => {
      for await (const line of harness.driver.logs(ONE, { tail: 10_000, follow: true, signal: controller.signal })) {
        lines.push(line);
        if (line === 'started') controller.abort();
      }
    })();
    await following;
    const batches = [1, 2, 3].flatMap((batch) => [
      ...Array.from({ length: 200 }, (_, index) => `line ${(batch - 1) * 200 + index}`),
      `end ${batch} ${'0'.repeat(4_000)}`,
    ]);
    expect(lines).toEqual([...batches, 'started']);
    expect(readdirSync(join(harness.stateDir, 'logs'))).toEqual(['one-1.1.log', 'one-1.1.log.1']);
    expect(statSync(log).size + statSync(`${log}.1`).size).toBeLessThan(16 * KIB);
  });

  it('of engines that are gone are kept, but not for ever', async () => {
    const folder = join(harness.stateDir, 'logs');
    mkdirSync(folder, { recursive: true });
    for (let index = 0; index < 80; index += 1) writeFileSync(join(folder, `old-${index}.1.log`), 'x');
    await harness.driver.launch(await harness.shell('exec sleep 600'), ONE);
    await until(() => readdirSync(folder).length === 51);
    expect(readdirSync(folder)).toContain('one-1.1.log');
  });
});

describe('an engine whose gateway was killed', () => {
  it('lives on, loses no line of its log, and is adopted [item 73]', async () => {
    const port = await freePort();
    const gateway = new URL('../support/launching-gateway.ts', import.meta.url).pathname;
    const child = await harness.platform.subprocess.spawn(
      [process.execPath, '--import', 'tsx', gateway, harness.stateDir, harness.gatewayId, String(port)],
      { env: { PATH: process.env['PATH'] ?? '' }, output: 2 },
    );
    try {
      await until(async () => (await harness.driver.tail(ONE, 1)).length > 0);
    } finally {
      harness.platform.subprocess.signal(-child.pid, 'SIGKILL');
    }
    await child.exited;
    const atDeath = (await harness.driver.tail(ONE, 100_000)).length;
    await until(async () => (await harness.driver.tail(ONE, 100_000)).length > atDeath + 50);
    expect(await harness.driver.list()).toMatchObject([{ id: ONE.id, usable: true, port }]);
    harness.driver.adopt(ONE);
    const followed = allLines(
      harness.driver.logs(ONE, { tail: 100_000, follow: true, signal: new AbortController().signal }),
    );
    await harness.driver.stop(ONE, stopOptions());
    const lines = await followed;
    expect(lines).toEqual(Array.from({ length: lines.length }, (_, index) => `line ${index}`));
    expect(await harness.members(ONE)).toEqual([]);
  });
});
