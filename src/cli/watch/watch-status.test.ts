import { afterEach, describe, expect, it } from 'vitest';
import { statusAnswer } from '../../admin/contract.ts';
import type { CliBench } from '../../../test/support/cli-bench.ts';
import { closeServers, connected } from '../../../test/support/connected-cli.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../../test/support/fleet-snapshot.ts';
import { GIB } from '../../units.ts';
import { frame } from './frame.ts';
import { fitted, span, width } from './spans.ts';

afterEach(closeServers);

const FLEET = fleetSnapshot({
  models: [
    modelSnapshot('llama', { state: 'ready', replicas: ['llama-1'], inFlight: 2, lastUsedAt: 0, pinnedBy: 'operator' }),
    modelSnapshot('Qwen/Qwen2.5-7B', { state: 'starting', replicas: ['qwen-1'], queued: 3 }),
  ],
  replicas: [
    replicaSnapshot('llama-1', 'llama', { devices: ['gpu-0'], reservedBytes: 20 * GIB }),
    replicaSnapshot('qwen-1', 'Qwen/Qwen2.5-7B', { state: 'starting', phase: 'weights', progress: 0.5, readyAt: null }),
  ],
  devices: [deviceSnapshot('gpu-0', { residents: ['llama-1'], reservedBytes: 20 * GIB })],
});

const ENTER = '\u001b[?1049h';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const terminal = { terminal: true, env: { LANG: 'C.UTF-8' } };

async function watching(): Promise<{ cli: CliBench; ended: Promise<number>; decide: (reason: string) => void }> {
  const { cli, admin } = await connected(terminal);
  admin.control.fleet = FLEET;
  const ended = cli.run('status', '--watch');
  await expect.poll(() => cli.out.text).toContain('llama (pinned)');
  const decide = (reason: string): void => admin.control.decide({ kind: 'replica.ready', reason });
  return { cli, ended, decide };
}

/** Gives the screen back, once, as the last thing. */
function expectRestored(cli: CliBench): void {
  expect(cli.out.text.startsWith(ENTER)).toBe(true);
  expect(cli.out.text.endsWith(LEAVE)).toBe(true);
  expect(cli.out.text.split('\u001b[?1049l')).toHaveLength(2);
  expect(cli.holdsTerminal).toBe(false);
}

describe('status --watch on a terminal', () => {
  it.each(['q', '\u0003'])('draws on the other screen and gives the own one back on the key %j', async (key) => {
    const { cli, ended } = await watching();
    cli.press(key);
    expect(await ended).toBe(0);
    expectRestored(cli);
    expect(cli.out.text).toContain('<yellow>[████████········]</yellow>');
  });

  it.each([
    ['SIGINT', 0],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('gives the screen back on %s and ends with %i', async (name, code) => {
    const { cli, ended } = await watching();
    cli.signal(name);
    expect(await ended).toBe(code);
    expectRestored(cli);
    expect(cli.listens(name)).toBe(false);
  });

  it('gives the screen back when the process ends in the middle, and draws no more', async () => {
    const { cli, ended } = await watching();
    cli.endProcess();
    expect(cli.out.text.endsWith(LEAVE)).toBe(true);
    cli.out.resized();
    expect(cli.out.text.endsWith(LEAVE)).toBe(true);
    cli.press('q');
    await ended;
  });

  it('draws a decision when it is made, and of the picture only what changed', async () => {
    const { cli, ended, decide } = await watching();
    const before = cli.out.text.length;
    decide('all is well');
    await expect.poll(() => cli.out.text.slice(before)).toContain('all is well');
    expect(cli.out.text.slice(before)).not.toContain('llama (pinned)');
    cli.press('q');
    await ended;
  });

  it('draws all of it anew in the new size', async () => {
    const { cli, ended } = await watching();
    const before = cli.out.text.length;
    cli.out.rows = 11;
    cli.out.columns = 40;
    cli.out.resized();
    const drawn = cli.out.text.slice(before);
    expect(drawn).toContain('llama (pinned)');
    expect(drawn).not.toContain('\u001b[12;1H');
    cli.press('q');
    await ended;
  });

  it('keeps the last picture while the gateway does not answer, and says so', async () => {
    const { cli, ended } = await watching();
    await closeServers();
    await expect
      .poll(() => {
        cli.platform.clock.advance(1_000);
        return cli.out.text;
      })
      .toContain('not answering');
    expect(cli.out.text).toContain('Still asking.');
    cli.press('q');
    expect(await ended).toBe(0);
  });

  it('tells an address that is wrong before it takes the screen', async () => {
    const { cli } = await connected({ ...terminal, env: { GATEWAY_URL: 'http://127.0.0.1:1' } });
    expect(await cli.run('status', '--watch')).toBe(1);
    expect(cli.out.text).toBe('');
    expect(cli.err.text).toContain('No gateway answers');
  });
});

describe('status --watch without a terminal', () => {
  it('--json prints one document per change, and none as time goes by', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    const ended = cli.run('status', '--watch', '--json');
    const documents = (): string[] => cli.out.text.split('\n').filter((line) => line !== '');
    await expect.poll(() => documents().length).toBe(1);
    const more = fleetSnapshot({ models: [modelSnapshot('llama', { queued: 7 }), modelSnapshot('Qwen/Qwen2.5-7B')] });
    admin.clock.advance(5_000);
    let asked = 0;
    await expect
      .poll(() => {
        asked += cli.platform.clock.pending > 0 ? 1 : 0;
        cli.platform.clock.advance(1_000);
        if (asked === 5) admin.control.fleet = more;
        return documents().length;
      })
      .toBe(2);
    expect(asked).toBeGreaterThanOrEqual(5);
    expect(documents().map((text) => statusAnswer.parse(JSON.parse(text)).models['llama']?.queued)).toEqual([0, 7]);
    cli.loseOutput();
    expect(await ended).toBe(0);
    expect(cli.out.text).not.toContain('\u001b');
  });

  it('prints the plain table again when something changed', async () => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    const ended = cli.run('status', '-w');
    await expect.poll(() => cli.out.text).toContain('weights 50 %');
    expect(cli.out.text).not.toContain('\u001b');
    cli.loseOutput();
    expect(await ended).toBe(0);
  });
});

describe('a picture', () => {
  const sizes = [1, 2, 5, 10, 24, 60].flatMap((rows) => [1, 20, 80, 200].map((columns) => [columns, rows] as const));
  it.each(sizes)('of %i × %i fills the screen and no more', async (columns, rows) => {
    const { cli, admin } = await connected();
    admin.control.fleet = FLEET;
    await cli.run('status', '--json');
    const status = statusAnswer.parse(JSON.parse(cli.out.text));
    const at = '2026-01-01T10:00:00.000Z';
    const events = Array.from({ length: 100 }, (_, seq) => ({
      ...{ seq, at, kind: 'replica.ready', model: 'llama', replica: null, reason: 'line\nbreak \u001b[2J', detail: {} },
    }));
    const view = { status, events, url: 'http://127.0.0.1:9000', now: 0, trouble: null };
    const lines = frame(view, { columns, rows, unicode: false });
    expect(lines).toHaveLength(rows);
    expect(Math.max(...lines.map(width))).toBeLessThanOrEqual(columns);
    expect(lines.flat().some(({ text }) => /[^\u0020-\u007e]/.test(text.replaceAll('·', '')))).toBe(false);
  });

  it('marks where a line was cut', () => {
    const cut = fitted([span('a name'), span(' and more')], 8, '…');
    expect(cut.map(({ text }) => text).join('')).toBe('a name …');
  });
});
