import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { curlLine, urlOf } from './banner.ts';
import { UnknownDevices } from '../gateway.ts';
import { StateDirHeld } from '../platform/state-dir.ts';
import { CliBench } from '../../test/support/cli-bench.ts';
import type { CliBenchOptions } from '../../test/support/cli-bench.ts';

const FILE = '/srv/gateway.yaml';
const YAML = `
drivers: { default: process }
devices: { probe: static, list: [{ id: gpu-0, memory: 24GiB }] }
auth: { keys: [{ id: app, key: the-secret-key-of-the-app }] }
models:
  llama: { repo: meta-llama/Llama-3.1-8B-Instruct, memory: 20GiB, max_model_len: 8192 }
`;
const DEMO = readFileSync(new URL('../../examples/demo.yaml', import.meta.url), 'utf8');

async function benchOf(options: CliBenchOptions = {}, yaml: string | null = YAML): Promise<CliBench> {
  const bench = new CliBench(options);
  if (yaml !== null) await bench.platform.files.writeAtomic(FILE, yaml);
  await bench.platform.files.writeAtomic('/package/examples/demo.yaml', DEMO);
  return bench;
}

async function running(bench: CliBench, ...args: readonly string[]): Promise<{ ended: Promise<number> }> {
  const ended = bench.run(...args);
  await expect.poll(() => bench.gateway.logged.some(({ message }) => message === 'listening')).toBe(true);
  return { ended };
}

const coded = (code: string, syscall: string): Error =>
  Object.assign(new Error(`${syscall} ${code}: 127.0.0.1:9000`), { code, syscall });

describe('serve', () => {
  it('runs until SIGTERM, drains, and ends with 0', async () => {
    const bench = await benchOf();
    const { ended } = await running(bench, 'serve');
    expect(bench.gateway.calls).toEqual(['start']);
    bench.signal('SIGTERM');
    expect(await ended).toBe(0);
    expect(bench.gateway.calls).toEqual(['start', 'drain']);
    expect(bench.listens('SIGTERM')).toBe(false);
  });

  it('ends with 1 when the drain was cut short', async () => {
    const bench = await benchOf();
    bench.gateway.draining = async () => 'cut';
    const { ended } = await running(bench, 'serve');
    bench.signal('SIGINT');
    expect(await ended).toBe(1);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends at once on a second %s, a second or more after the first, and still closes', async (name, code) => {
    const bench = await benchOf();
    bench.gateway.draining = () => new Promise(() => undefined);
    const { ended } = await running(bench, 'serve');
    bench.signal('SIGTERM');
    await expect.poll(() => bench.gateway.calls).toContain('drain');
    bench.platform.clock.advance(999);
    bench.signal(name);
    bench.platform.clock.advance(1);
    expect(bench.gateway.calls).not.toContain('close');
    bench.signal(name);
    expect(await ended).toBe(code);
    expect(bench.gateway.calls).toEqual(['start', 'drain', 'close']);
  });

  it('takes a signal that npm and the process group deliver twice for one', async () => {
    const bench = await benchOf();
    const { ended } = await running(bench, 'serve');
    bench.signal('SIGINT');
    bench.signal('SIGINT');
    expect(await ended).toBe(0);
  });

  it('can be ended while it starts', async () => {
    const bench = await benchOf();
    bench.gateway.starting = () => new Promise(() => undefined);
    const ended = bench.run('serve');
    await expect.poll(() => bench.gateway.calls).toContain('start');
    bench.signal('SIGTERM');
    expect(await ended).toBe(0);
    expect(bench.gateway.calls).toEqual(['start', 'drain']);
  });

  it('reloads on SIGHUP in the background, also while it is opened, and ends when its own terminal closes', async () => {
    const background = await benchOf();
    background.gateway.opening = async () => background.signal('SIGHUP');
    const one = await running(background, 'serve');
    expect(background.gateway.calls).toEqual(['reload signal', 'start']);
    background.signal('SIGHUP');
    expect(background.gateway.calls).toEqual(['reload signal', 'start', 'reload signal']);
    background.signal('SIGTERM');
    expect(await one.ended).toBe(0);
    const onTerminal = await benchOf({ terminal: true });
    const two = await running(onTerminal, 'serve');
    onTerminal.signal('SIGHUP');
    expect(await two.ended).toBe(0);
    expect(onTerminal.gateway.calls).toEqual(['start', 'drain']);
  });

  it('goes on when a reload fails', async () => {
    const bench = await benchOf();
    bench.gateway.reloading = () => Promise.reject(new Error('a bug'));
    const { ended } = await running(bench, 'serve');
    bench.signal('SIGHUP');
    await expect.poll(() => bench.gateway.logged.some(({ level }) => level === 'error')).toBe(true);
    bench.signal('SIGTERM');
    expect(await ended).toBe(0);
  });

  it('reads flags, environment and files again for a reload, and names the files', async () => {
    const bench = await benchOf();
    const { ended } = await running(bench, 'serve', '--listen', '127.0.0.1:9001');
    await bench.platform.files.writeAtomic(FILE, YAML.replace('24GiB', '48GiB'));
    const { source, config } = bench.gateway;
    if (!source || !config) throw new Error('not opened');
    expect(source.files).toContain(FILE);
    const { config: next } = await source.load(config);
    expect(next?.devices.list).toEqual([expect.objectContaining({ memory: 48 * 2 ** 30 })]);
    expect(next?.server.listen.port).toBe(9001);
    bench.signal('SIGTERM');
    await ended;
  });

  it('logs the whole effective configuration without secrets, pool sizes included [S12]', async () => {
    const bench = await benchOf();
    const { ended } = await running(bench, 'serve');
    const text = JSON.stringify(bench.gateway.logged);
    for (const section of ['server', 'limits', 'timeouts', 'retry', 'auth', 'devices', 'memory', 'drivers', 'pools']) {
      expect(bench.gateway.logged.map(({ message }) => message)).toContain(`configuration: ${section}`);
    }
    const limits = bench.gateway.logged.find(({ message }) => message === 'configuration: limits');
    expect(limits?.fields['limits']).toMatchObject({ max_in_flight: 150, http_pool_size: 150, max_queue_size: 200 });
    expect(bench.gateway.logged).toContainEqual(
      expect.objectContaining({
        message: 'configuration: model',
        fields: expect.objectContaining({ model: 'llama' }) as object,
      }),
    );
    expect(text).not.toContain('the-secret-key-of-the-app');
    bench.signal('SIGTERM');
    await ended;
  });

  it('logs every problem in force: variable, value, range and default [S1]', async () => {
    const bench = await benchOf({ env: { GATEWAY_MAX_CONCURRENT: '99999' } });
    const { ended } = await running(bench, 'serve');
    const line = bench.gateway.logged.find(({ level }) => level === 'error');
    for (const part of ['GATEWAY_MAX_CONCURRENT', '99999', '10000', '50']) expect(line?.message).toContain(part);
    bench.signal('SIGTERM');
    await ended;
  });

  it('without any model refuses, and says the three ways to configure one', async () => {
    const bench = await benchOf({}, null);
    expect(await bench.run('serve')).toBe(2);
    for (const way of ['gateway.yaml', '--config', 'ALLOWED_MODELS_JSON']) expect(bench.err.text).toContain(way);
    expect(bench.out.text).toBe('');
    expect(bench.gateway.calls).toEqual([]);
  });

  it('lists every problem of a file at once and ends with 2', async () => {
    const bench = await benchOf({}, `${YAML}\nlimits: { max_queue_sise: 5, max_concurrent: 0 }\n`);
    expect(await bench.run('serve')).toBe(2);
    expect(bench.err.text).toContain('gateway.yaml:8:');
    expect(bench.err.text).toContain('max_queue_size');
    expect(bench.err.text.trim().split('\n')).toHaveLength(2);
  });

  it.each([
    ['EADDRINUSE', 'listen', 'Another program has this port'],
    ['EACCES', 'listen', 'more rights'],
    ['EADDRNOTAVAIL', 'listen', 'no such address'],
    ['EROFS', 'open', 'state_dir'],
    ['ENOSPC', 'write', 'is full: free some, or name a folder on another disk'],
  ])('[B195] [B196] ends with 3 on %s from %s', async (code, syscall, hint) => {
    const bench = await benchOf();
    bench.gateway.starting = () => Promise.reject(coded(code, syscall));
    expect(await bench.run('serve')).toBe(3);
    expect(bench.err.text).toContain(hint);
    expect(bench.gateway.calls).toEqual(['start', 'close']);
  });

  it('ends with 3 when another gateway holds state_dir [I-90]', async () => {
    const bench = await benchOf();
    bench.gateway.opening = () => Promise.reject(new StateDirHeld('./data', 4_711));
    expect(await bench.run('serve')).toBe(3);
    expect(bench.err.text).toContain('4711');
  });

  it('ends with 2 when the configuration names a GPU that the machine has not got', async () => {
    const bench = await benchOf();
    bench.gateway.starting = () => Promise.reject(new UnknownDevices('This machine has no such GPU: GPU-x.'));
    expect(await bench.run('serve')).toBe(2);
    expect(bench.err.text).toContain('GPU-x');
    expect(bench.err.text).toContain('nvidia-smi -L');
    expect(bench.gateway.calls).toEqual(['start', 'close']);
  });

  it('ends its engines and answers 70 when a bug reaches the top', async () => {
    const bench = await benchOf();
    const { ended } = await running(bench, 'serve');
    bench.crash(new Error('invariant'));
    expect(await ended).toBe(70);
    expect(bench.gateway.calls).toEqual(['start', 'close']);
  });

  it('passes a bug at start on, after closing', async () => {
    const bench = await benchOf();
    bench.gateway.starting = () => Promise.reject(new TypeError('undefined is not a function'));
    await expect(bench.run('serve')).rejects.toThrow('undefined is not a function');
    expect(bench.gateway.calls).toEqual(['start', 'close']);
  });

  it('lets flags win', async () => {
    const bench = await benchOf({ env: { GATEWAY_LISTEN: '127.0.0.1:9100' } });
    const { ended } = await running(
      bench,
      'serve',
      '--listen',
      '127.0.0.1:9200',
      '--log-level',
      'debug',
      '--config',
      FILE,
    );
    expect(bench.gateway.config?.server.listen.port).toBe(9200);
    expect(bench.gateway.config?.log.level).toBe('debug');
    bench.signal('SIGTERM');
    await ended;
  });
});

describe('demo', () => {
  it('says where it listens, with one curl line to paste, and stops its engines at the end', async () => {
    const bench = await benchOf({}, null);
    const { ended } = await running(bench, 'demo');
    await expect.poll(() => bench.out.text).toContain('Ctrl+C');
    expect(bench.out.text).toContain('http://127.0.0.1:9000');
    const curl = bench.out.text.split('\n').find((line) => line.trimStart().startsWith('curl '));
    expect(curl?.trim()).toBe(curlLine('http://127.0.0.1:9000', 'llama-8b', false));
    expect(bench.gateway.config?.server.onShutdown).toBe('stop');
    bench.signal('SIGHUP');
    expect(await ended).toBe(0);
  });

  it('ends when its parent is gone', async () => {
    let parent = 77;
    const bench = await benchOf({ parentPid: () => parent }, null);
    const { ended } = await running(bench, 'demo');
    bench.platform.clock.advance(5_000);
    expect(bench.gateway.calls).toEqual(['start']);
    parent = 1;
    bench.platform.clock.advance(1_000);
    expect(await ended).toBe(0);
    expect(bench.gateway.calls).toEqual(['start', 'drain']);
    expect(bench.platform.clock.pending).toBe(0);
  });

  it('does not wait for a parent that was never there', async () => {
    const bench = await benchOf({ parentPid: () => 1 }, null);
    const { ended } = await running(bench, 'demo');
    bench.platform.clock.advance(5_000);
    expect(bench.gateway.calls).toEqual(['start']);
    bench.signal('SIGTERM');
    await ended;
  });

  it('can be tried with settings of the environment', async () => {
    const bench = await benchOf({ env: { GATEWAY_MAX_QUEUE_SIZE: '2', GATEWAY_LISTEN: '127.0.0.1:9333' } }, null);
    const { ended } = await running(bench, 'demo');
    expect(bench.gateway.config?.limits.maxQueueSize).toBe(2);
    await expect.poll(() => bench.out.text).toContain('http://127.0.0.1:9333/v1/chat/completions');
    bench.signal('SIGTERM');
    await ended;
  });
});

describe('addresses to connect to', () => {
  it.each([
    ['127.0.0.1', 'http://127.0.0.1:1'],
    ['0.0.0.0', 'http://127.0.0.1:1'],
    ['::', 'http://[::1]:1'],
    ['::1', 'http://[::1]:1'],
    ['gpu.lan', 'http://gpu.lan:1'],
  ])('%s → %s', (host, url) => {
    expect(urlOf({ host, port: 1 })).toBe(url);
  });

  it('make a curl line that a shell reads as it is meant', () => {
    expect(curlLine('http://h:1', "o'model", true)).toBe(
      String.raw`curl http://h:1/v1/chat/completions -H 'content-type: application/json' -H 'authorization: Bearer YOUR_KEY' -d '{"model":"o'\''model","messages":[{"role":"user","content":"Hello"}]}'`,
    );
  });
});
