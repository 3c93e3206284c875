import { afterEach, describe, expect, it } from 'vitest';
import { CliBench } from '../../../test/support/cli-bench.ts';
import { closeServers, connected } from '../../../test/support/connected-cli.ts';
import { fleetSnapshot, modelSnapshot } from '../../../test/support/fleet-snapshot.ts';
import { DeafServer } from '../../../test/support/deaf-server.ts';

afterEach(closeServers);

async function serving(): ReturnType<typeof connected> {
  const bench = await connected();
  bench.admin.control.fleet = fleetSnapshot({ models: [modelSnapshot('llama'), modelSnapshot('Qwen/Qwen2.5-7B')] });
  return bench;
}

async function completed(cli: CliBench, ...words: readonly string[]): Promise<string[]> {
  expect(await cli.run('__complete', '--', ...words)).toBe(0);
  expect(cli.err.text).toBe('');
  return cli.out.text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t')[0] ?? '');
}

describe('completion', () => {
  const CASES: readonly (readonly [readonly string[], readonly string[]])[] = [
    [['ser'], ['serve']],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['completion', 'f'], ['fish']],
    [
      ['serve', '--l'],
      ['--listen', '--log-level'],
    ],
    [['serve', '--log-level', 'w'], ['warn']],
    [['serve', '--log-level=w'], ['--log-level=warn']],
    [['serve', '--config', ''], [':files']],
    [['init', '-o', ''], [':files']],
    [['status', '--json', '--j'], []],
    [['status', ''], []],
    [
      ['events', '-'],
      ['--url', '--follow', '--json', '--help'],
    ],
    [
      ['nothing', '--'],
      ['--version', '--help'],
    ],
  ];
  it.each(CASES)('of %j offers %j', async (words, offered) => {
    expect(await completed(new CliBench(), ...words)).toEqual(offered);
  });

  it('offers every command that the help shows, and none that it hides', async () => {
    const offered = await completed(new CliBench(), '');
    const help = new CliBench();
    await help.run('--help');
    const shown = [...help.out.text.matchAll(/^ {2}([a-z]+) (?:\[|<| )/gm)].map(([, name]) => name);
    expect(offered).toEqual(shown);
    expect(offered).toContain('doctor');
  });

  it('says of each candidate what it does', async () => {
    const cli = new CliBench();
    await cli.run('__complete', '--', 'sch');
    expect(cli.out.text).toBe('schema\tprint the JSON Schema of the configuration file\n');
  });

  it.each([
    [
      ['load', ''],
      ['llama', 'gpt-4o-mini', 'Qwen/Qwen2.5-7B'],
    ],
    [['plan', '--model', 'll'], ['llama']],
    [['plan', '--model=ll'], ['--model=llama']],
    [['unload', '--no-wait', 'Q'], ['Qwen/Qwen2.5-7B']],
    [['load', 'llama', ''], []],
    [['logs', '-n', '5', 'g'], ['gpt-4o-mini']],
  ])('asks the gateway for names: %j', async (words, offered) => {
    const { cli } = await serving();
    expect((await completed(cli, ...words)).toSorted()).toEqual(offered.toSorted());
  });

  it('takes the gateway that the line names', async () => {
    const { url } = await serving();
    const cli = new CliBench();
    expect(await completed(cli, 'load', '--url', url, 'gpt')).toEqual(['gpt-4o-mini']);
  });

  it('waits half a second for a gateway that does not answer, and complains about nothing', async () => {
    await using deaf = await DeafServer.start();
    const cli = new CliBench({ env: { GATEWAY_URL: deaf.url } });
    const ended = completed(cli, 'load', '');
    await expect.poll(() => cli.platform.clock.pending).toBe(1);
    cli.platform.clock.advance(500);
    expect(await ended).toEqual([]);
  });

  it('prints a script for each shell that asks the program itself', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const cli = new CliBench();
      expect(await cli.run('completion', shell)).toBe(0);
      expect(cli.out.text).toContain('vllm-gateway completion ' + shell);
      expect(cli.out.text).toContain('__complete -- ');
    }
    const cli = new CliBench();
    expect(await cli.run('completion', 'tcsh')).toBe(2);
    expect(cli.err.text).toContain('Allowed choices are bash, zsh, fish');
  });
});
