/** The real program and its files: what it notices by itself, and what signals make it do. */
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { spawnGateway, startGateway, type GatewayProcess } from '../support/gateway-process.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { ownPorts } from '../support/simulated-fleet.ts';

const drivers = { default: 'process', process: { command: ['simulated-vllm'], port_range: ownPorts() } };
const entry = (length = 8192): object => ({ repo: 'org/one', max_model_len: length, env: QUICK });

describe('the files of a running gateway', () => {
  let gateway: GatewayProcess;
  let file = '';
  let good = '';

  beforeAll(async () => {
    gateway = await startGateway({ yaml: gatewayYaml({ one: entry() }, { drivers }) });
    file = join(gateway.folder, 'gateway.yaml');
    good = await readFile(file, 'utf8');
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  const withModels = (...names: readonly string[]): string =>
    good.replace(/^models:.*$/m, `models: ${JSON.stringify(Object.fromEntries(names.map((name) => [name, entry()])))}`);

  async function untilServed(...names: readonly string[]): Promise<void> {
    await eventually(`models are ${names.join(', ')}`, async () => {
      const { models } = (await gateway.status()) as unknown as { readonly models: object };
      return Object.keys(models).join() === names.join();
    });
  }

  const rejections = (): number => gateway.decisions('config.rejected').length;
  const errors = (): number => gateway.stdout.split('\n').filter((line) => line.includes('"level":"error"')).length;

  it('are read again when one is written, replaced, swapped by a link, half written, or broken [F92]', async () => {
    await writeFile(file, withModels('one', 'two'));
    await untilServed('one', 'two');
    await writeFile(`${file}.new`, withModels('one', 'three'));
    await rename(`${file}.new`, file);
    await untilServed('one', 'three');

    // Broken: the old one stays, and every problem is told once, however often the file is looked at.
    await writeFile(file, 'models: [');
    await eventually('it is rejected', () => rejections() === 1);
    expect(errors()).toBe(1);
    await writeFile(`${file}.other`, 'an event in the folder');
    await writeFile(file, 'models: [');
    await untilServed('one', 'three');
    const { config } = (await gateway.status()) as unknown as {
      readonly config: {
        readonly problems: readonly { readonly severity: string }[];
        readonly rejected_at: string | null;
      };
    };
    expect(config.problems.some(({ severity }) => severity === 'error')).toBe(true);
    expect(config.rejected_at).not.toBeNull();
    expect([rejections(), errors()]).toEqual([1, 1]);

    // Half written: in steps that are quick enough for the pieces never to be taken for the whole.
    const whole = withModels('one', 'four');
    for (let length = 0; length < whole.length; length += 8) await writeFile(file, whole.slice(0, length));
    await writeFile(file, whole);
    await untilServed('one', 'four');

    // The file is a link, into a folder that is one, as a ConfigMap is mounted.
    for (const name of ['five', 'six']) {
      await mkdir(join(gateway.folder, name));
      await writeFile(join(gateway.folder, name, 'gateway.yaml'), withModels('one', name));
    }
    await symlink('five', join(gateway.folder, '..data'));
    await symlink('..data/gateway.yaml', `${file}.link`);
    await rename(`${file}.link`, file);
    await untilServed('one', 'five');
    await symlink('six', join(gateway.folder, '..data_tmp'));
    await rename(join(gateway.folder, '..data_tmp'), join(gateway.folder, '..data'));
    await untilServed('one', 'six');
    await rm(file);
    await writeFile(file, good);
    await untilServed('one');
    expect(gateway.running).toBe(true);
  });

  it('that hold secrets are read again: a new key holds at once, the old one no longer [F94]', async () => {
    const key = join(gateway.folder, 'app.key');
    await writeFile(key, 'the-first-secret\n');
    const auth = { keys: [{ id: 'app', key: 'file:app.key', roles: ['inference', 'admin'] }] };
    await writeFile(file, `${good}auth: ${JSON.stringify(auth)}\n`);
    const status = async (secret: string): Promise<number> => {
      const answer = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${secret}` } });
      await answer.text();
      return answer.status;
    };
    await eventually('the first key is asked for', async () => (await status('')) === 401);
    expect([await status('the-first-secret'), await status('the-second-secret')]).toEqual([200, 401]);
    await writeFile(`${key}.new`, 'the-second-secret\n');
    await rename(`${key}.new`, key);
    await eventually('the second key holds', async () => (await status('the-second-secret')) === 200);
    expect(await status('the-first-secret')).toBe(401);
    await rm(key);
    await eventually('a key that is gone is told', () => rejections() > 1);
    expect(await status('the-second-secret')).toBe(200);
    expect(gateway.stdout).not.toMatch(/the-(first|second)-secret/);
    await writeFile(file, good);
    await eventually('nobody is asked for a key', async () => (await status('')) === 200);
  });

  it('are read again on SIGHUP, and other signals change nothing [F100]', async () => {
    await writeFile(file, good);
    const asIs = (): number => gateway.log.filter(({ msg }) => msg === 'the configuration is as it was').length;
    const before = asIs();
    gateway.signal('SIGHUP');
    await eventually('it says that nothing is different', () => asIs() > before);
    for (const name of ['SIGPIPE', 'SIGUSR1', 'SIGWINCH'] as const) gateway.signal(name);
    gateway.signal('SIGHUP');
    await eventually('it goes on', () => asIs() > before + 1);
    // SIGUSR1 makes Node listen for a debugger, which could read every key.
    expect(gateway.stderr).toBe('');
    // In the middle of a reload it ends as ever.
    await writeFile(file, withModels('one', 'last'));
    gateway.signal('SIGHUP');
    gateway.signal('SIGINT');
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
  });

  it('are read again after the start when somebody asks during it', async () => {
    await using early = await spawnGateway({ yaml: gatewayYaml({ one: entry() }, { drivers }) });
    await early.listening();
    await writeFile(
      join(early.folder, 'gateway.yaml'),
      withModels('one', 'early').replaceAll(gateway.folder, early.folder),
    );
    early.signal('SIGHUP');
    await eventually('it was read again', () => early.decisions('config.reloaded').length === 1);
    const told = early.log.map(({ msg, event }) => event ?? msg);
    expect(told.indexOf('models can start')).toBeLessThan(told.indexOf('config.reloaded'));
  });
});
