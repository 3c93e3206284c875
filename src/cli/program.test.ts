import { afterEach, describe, expect, it } from 'vitest';
import { commandAnswer, decisionEvent, statusAnswer } from '../admin/contract.ts';
import { CliBench } from '../../test/support/cli-bench.ts';
import { ADMIN_BENCH_YAML } from '../../test/support/admin-bench.ts';
import { closeServers, connected, listen } from '../../test/support/connected-cli.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';
import { GIB } from '../units.ts';

afterEach(closeServers);

const FLEET = fleetSnapshot({
  models: [
    modelSnapshot('llama', { state: 'ready', replicas: ['llama-1'], inFlight: 2, lastUsedAt: 0, pinnedBy: 'operator' }),
    modelSnapshot('Qwen/Qwen2.5-7B', { state: 'starting', replicas: ['qwen-1'], queued: 3 }),
  ],
  replicas: [
    replicaSnapshot('llama-1', 'llama', { devices: ['gpu-0'], reservedBytes: 20 * GIB }),
    replicaSnapshot('qwen-1', 'Qwen/Qwen2.5-7B', {
      state: 'starting',
      phase: 'weights',
      progress: 0.45,
      readyAt: null,
      generation: 4,
    }),
  ],
  devices: [deviceSnapshot('gpu-0', { residents: ['llama-1'], reservedBytes: 20 * GIB })],
});

describe('usage', () => {
  const WRONG: readonly (readonly [readonly string[], string])[] = [
    [['stauts'], 'Did you mean status?'],
    [['serve', '--confg', 'x'], 'Did you mean --config?'],
    [['load'], "missing required argument 'model'"],
    [['serve', '--log-level', 'loud'], 'Allowed choices are trace, debug, info, warn, error'],
    [['status', 'extra'], 'too many arguments'],
    [['status', '--url', 'ftp://x'], 'write http://HOST:PORT'],
  ];
  it.each(WRONG)('%j is wrong, and the answer says what is right', async (args, right) => {
    const cli = new CliBench();
    expect(await cli.run(...args)).toBe(2);
    expect(cli.err.text).toContain(right);
    expect(cli.out.text).toBe('');
  });

  it('without a command is wrong too, and shows the commands', async () => {
    const cli = new CliBench();
    expect(await cli.run()).toBe(2);
    for (const name of [
      'serve',
      'demo',
      'check',
      'status',
      'plan',
      'load',
      'unload',
      'pin',
      'unpin',
      'logs',
      'events',
      'schema',
      'doctor',
      'init',
      'bench',
      'completion',
    ]) {
      expect(cli.err.text).toContain(`  ${name}`);
    }
  });

  it.each([['--help'], ['help'], ['serve', '--help'], ['help', 'logs']])(
    '%s %s is asked for: on stdout, with 0',
    async (...args) => {
      const cli = new CliBench();
      expect(await cli.run(...args.filter(Boolean))).toBe(0);
      expect(cli.out.text).toContain('Usage: vllm-gateway');
      expect(cli.err.text).toBe('');
    },
  );

  it('--version prints it', async () => {
    const cli = new CliBench();
    expect(await cli.run('--version')).toBe(0);
    expect(cli.out.text).toBe('0.1.0\n');
  });
});

describe('schema and check', () => {
  const YAML = `drivers: { default: process }\nmodels: { a: { repo: o/a, max_model_len: 4096, memory: 1GiB } }\ndevices: { probe: static, list: [{ id: g, memory: 2GiB }] }\n`;

  async function checked(yaml: string, ...args: readonly string[]): Promise<{ cli: CliBench; code: number }> {
    const cli = new CliBench();
    await cli.platform.files.writeAtomic('/srv/gateway.yaml', yaml);
    return { cli, code: await cli.run('check', ...args) };
  }

  it('schema prints JSON Schema', async () => {
    const cli = new CliBench();
    expect(await cli.run('schema')).toBe(0);
    expect(JSON.parse(cli.out.text)).toHaveProperty('properties.models');
  });

  it('check prints what is in force and ends with 0', async () => {
    const { cli, code } = await checked(YAML);
    expect(code).toBe(0);
    expect(cli.out.text).toContain('limits:\n  max_queue_size: 200\n');
    expect(cli.err.text).toContain('ok: 0 errors');
  });

  it('check --json prints exactly one document', async () => {
    const { cli, code } = await checked(YAML, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(cli.out.text)).toMatchObject({ ok: true, effective: { limits: { max_in_flight: 150 } } });
    expect(cli.out.text.trimEnd()).not.toContain('\n');
    expect(cli.err.text).toBe('');
  });

  it('check ends with 1 on an error and names its place', async () => {
    const { cli, code } = await checked(`${YAML}limits: { max_queue_sise: 1 }\n`);
    expect(code).toBe(1);
    expect(cli.err.text).toContain('gateway.yaml:4:11: limits.max_queue_sise');
    expect(cli.err.text).toContain('not ok: 1 error');
    const json = await checked(`${YAML}limits: { max_queue_sise: 1 }\n`, '--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.cli.out.text)).toMatchObject({
      ok: false,
      effective: null,
      problems: [{ severity: 'error', line: 4, column: 11, path: 'limits.max_queue_sise' }],
    });
  });
});

describe('status', () => {
  it('--json prints the one document that the gateway sent', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    expect(await cli.run('status', '--json')).toBe(0);
    const document: unknown = JSON.parse(cli.out.text);
    expect(statusAnswer.parse(document)).toEqual(document);
    expect(cli.err.text).toBe('');
  });

  it('shows models and devices in tables', async () => {
    const { cli, admin, url } = await connected();
    admin.control.fleet = FLEET;
    expect(await cli.run('status')).toBe(0);
    const lines = cli.out.text.split('\n');
    expect(lines[0]).toBe(`vLLM Gateway 0.1.0 · ready · up 0s · 2/150 in flight · ${url}`);
    const find = (start: string): string | undefined => lines.find((line) => line.startsWith(start));
    expect(find('llama (pinned)')).toMatch(/ready +0 +2\/50 +llama-1 +gpu-0 /);
    expect(find('Qwen/Qwen2.5-7B')).toMatch(/starting +3\/200 +0 +qwen-1 .*weights 45 %$/);
    expect(find('gpu-0')).toMatch(/ok +20GiB +20GiB +21.6GiB +24GiB +llama$/);
    expect(cli.out.text).not.toContain('<');
  });

  it('uses colour on a terminal only', async () => {
    const { cli, admin } = await connected({ terminal: true });
    admin.control.fleet = FLEET;
    await cli.run('status');
    expect(cli.out.text).toContain('<green>ready</green>');
    expect(cli.out.text).toContain('<yellow>starting</yellow>');
  });
});

describe('load, unload, pin and unpin', () => {
  it('load waits until the model is ready', async () => {
    const { cli, admin } = await connected();
    admin.control.result = () => ({ ok: true, state: 'ready' });
    expect(await cli.run('load', 'gpt-4o-mini')).toBe(0);
    expect(admin.control.asked[0]).toMatchObject({ command: 'load', model: 'llama', wait: true });
    expect(cli.out.text).toBe('llama is ready.\n');
  });

  it.each([
    [['load', '--no-wait', 'llama'], false, 'llama is starting.\n'],
    [['unload', 'llama'], true, 'llama is starting.\n'],
    [['pin', 'Qwen/Qwen2.5-7B'], false, 'Qwen/Qwen2.5-7B is pinned (starting)'],
    [['unpin', 'llama'], false, 'llama is no longer pinned (starting).\n'],
  ] as const)('%j', async (args, wait, said) => {
    const { cli, admin } = await connected();
    expect(await cli.run(...args)).toBe(0);
    expect(admin.control.asked[0]).toMatchObject({ command: args[0], wait });
    expect(cli.out.text).toContain(said);
    expect(cli.err.text).toBe('');
  });

  it('--json prints exactly one document', async () => {
    const { cli } = await connected();
    expect(await cli.run('load', 'llama', '--json', '--no-wait')).toBe(0);
    expect(commandAnswer.parse(JSON.parse(cli.out.text))).toMatchObject({ command: 'load', done: false });
  });

  it('show a progress line on a terminal while the model loads, and take it away', async () => {
    const { cli, admin } = await connected({ terminal: true });
    admin.control.fleet = FLEET;
    let finish = (): void => undefined;
    admin.control.result = () =>
      new Promise((resolve) => {
        finish = () => resolve({ ok: true, state: 'ready' });
      });
    const ended = cli.run('load', 'Qwen/Qwen2.5-7B');
    await expect.poll(() => admin.control.asked.length).toBe(1);
    cli.platform.clock.advance(500);
    await expect.poll(() => cli.err.text).toContain('Qwen/Qwen2.5-7B: weights 45 %');
    finish();
    expect(await ended).toBe(0);
    expect(cli.err.text.endsWith('\r\u001b[K')).toBe(true);
    expect(cli.out.text).toBe('Qwen/Qwen2.5-7B is ready.\n');
  });

  it('fail with the reason and 1', async () => {
    const { cli, admin } = await connected();
    admin.control.result = () => ({ ok: false, error: { code: 'no_capacity', message: '3 GiB are missing on gpu-0' } });
    expect(await cli.run('load', 'llama', '--json')).toBe(1);
    expect(cli.err.text).toBe('3 GiB are missing on gpu-0 (no_capacity)\n');
    expect(cli.out.text).toBe('');
  });

  it('send the key of GATEWAY_ADMIN_KEY, and say where it comes from when it is wrong', async () => {
    const keyed = `${ADMIN_BENCH_YAML}\nauth: { keys: [{ id: ops, key: the-key-of-operations, roles: [admin] }] }\n`;
    const right = await connected({ env: { GATEWAY_ADMIN_KEY: 'the-key-of-operations' } }, keyed);
    expect(await right.cli.run('pin', 'llama')).toBe(0);
    const wrong = await connected({ env: { GATEWAY_ADMIN_KEY: 'another-key-altogether' } }, keyed);
    expect(await wrong.cli.run('pin', 'llama')).toBe(1);
    expect(wrong.cli.err.text).toContain('GATEWAY_ADMIN_KEY');
    expect(wrong.cli.err.text).not.toContain('another-key-altogether');
  });
});

describe('logs', () => {
  it('prints the log of the newest engine of a model', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    admin.control.lines = async function* (replica, { tail, follow }) {
      yield `${replica} ${tail} ${follow}`;
    };
    expect(await cli.run('logs', 'Qwen/Qwen2.5-7B')).toBe(0);
    expect(cli.out.text).toBe('qwen-1 100 false\n');
    expect(await cli.run('logs', 'llama-1', '-f', '--tail', '5')).toBe(0);
    expect(cli.out.text).toBe('qwen-1 100 false\nllama-1 5 true\n');
  });

  it('knows a model by its aliases too', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    admin.control.lines = async function* () {
      yield 'a line';
    };
    expect(await cli.run('logs', 'gpt-4o-mini')).toBe(0);
    expect(admin.control.askedLogs[0]).toMatchObject({ replica: 'llama-1' });
  });

  it('says that a server run by somebody else keeps its own log', async () => {
    const { cli, admin } = await connected();
    const models = [modelSnapshot('there', { state: 'ready', driver: 'external', replicas: ['there-1'] })];
    admin.control.fleet = fleetSnapshot({ models, replicas: [replicaSnapshot('there-1', 'there')] });
    expect(await cli.run('logs', 'there')).toBe(1);
    expect(cli.err.text).toContain('somebody else runs');
  });

  it('ends when nobody reads any more', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    admin.control.lines = async function* (_, { signal }) {
      yield 'line';
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    };
    const ended = cli.run('logs', 'llama', '-f');
    await expect.poll(() => cli.out.text).toBe('line\n');
    cli.loseOutput();
    expect(await ended).toBe(0);
  });

  it('prints the log of an engine that is gone, as after a failed start', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = fleetSnapshot({ models: [modelSnapshot('llama', { state: 'failed' })] });
    admin.control.lines = async function* (replica) {
      yield `${replica}: Traceback`;
    };
    expect(await cli.run('logs', 'llama')).toBe(0);
    expect(await cli.run('logs', 'llama-1')).toBe(0);
    expect(cli.out.text).toBe('llama: Traceback\nllama-1: Traceback\n');
    expect(cli.err.text).toContain('whose engine is gone');
  });

  it('says how to start an engine when there is none, and what there is when the name is wrong', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = fleetSnapshot({ models: [modelSnapshot('llama')] });
    expect(await cli.run('logs', 'llama')).toBe(1);
    expect(cli.err.text).toContain('vllm-gateway load llama');
    expect(await cli.run('logs', 'lama')).toBe(1);
    expect(cli.err.text).toContain('there are: llama');
  });
});

describe('events', () => {
  it('prints one line per decision, and with --json one document per line', async () => {
    const { cli, admin } = await connected();
    admin.control.decide({ kind: 'replica.reserved', model: 'llama', replica: 'llama-1', reason: 'a request waits' });
    admin.control.decide({ kind: 'replica.evicted', model: 'Qwen/Qwen2.5-7B', reason: 'least recently used' });
    expect(await cli.run('events')).toBe(0);
    expect(cli.out.text.split('\n')).toEqual([
      '12:53:20.000  replica.reserved      llama-1  a request waits',
      '12:53:20.000  replica.evicted       Qwen/Qwen2.5-7B  least recently used',
      '',
    ]);
    cli.out.text = '';
    expect(await cli.run('events', '--json')).toBe(0);
    const documents = cli.out.text
      .trimEnd()
      .split('\n')
      .map((line) => decisionEvent.parse(JSON.parse(line)));
    expect(documents.map(({ seq }) => seq)).toEqual([1, 2]);
  });

  it('-f goes on with what is decided later', async () => {
    const { cli, admin } = await connected();
    const ended = cli.run('events', '-f', '--json');
    await expect.poll(() => admin.control.listeners.size).toBe(1);
    admin.control.decide({ kind: 'replica.ready' });
    await expect.poll(() => cli.out.text).toContain('replica.ready');
    admin.admin.close();
    expect(await ended).toBe(0);
    expect(cli.out.text.trimEnd().split('\n')).toHaveLength(1);
  });
});

describe('a gateway that does not answer as one', () => {
  it('when nothing listens, says how to start one', async () => {
    const url = await listen(() => undefined);
    await closeServers();
    const cli = new CliBench();
    expect(await cli.run('status', '--url', url)).toBe(1);
    expect(cli.err.text).toContain(`No gateway answers at ${url}: nothing listens there.`);
    expect(cli.err.text).toContain('vllm-gateway serve');
  });

  it.each([
    [200, 'text/html', '<h1>It works</h1>'],
    [200, 'application/json', '{"models":{}}'],
    [404, 'text/plain', 'not found'],
    [302, 'text/plain', ''],
  ])('when something else does (%i %s), doubts the address', async (status, type, body) => {
    const url = await listen((_, response) => {
      response.writeHead(status, { 'content-type': type, location: '/login' });
      response.end(body);
    });
    const cli = new CliBench();
    expect(await cli.run('status', '--url', url.slice('http://'.length))).toBe(1);
    expect(cli.err.text).toContain('not like a vLLM Gateway');
  });
});
