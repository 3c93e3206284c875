import { expect, it } from 'vitest';
import { LaunchError } from '../../../src/drivers/driver.ts';
import { allLines, identityOf, never, ONE, rejection, stopOptions, TWO, type Fixture } from './harness.ts';

export function launching(fixture: Fixture): void {
  it('launches to an endpoint where the engine is reached', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoint = await driver.launch(spec, ONE);
    expect(endpoint.origin).toMatch(harness.origin(spec));
    expect(endpoint.pathPrefix).toBe('');
    expect(await harness.living(ONE)).toBe(1);
  });

  it('launches once per identity, however often and however concurrently it is asked [item 59]', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoints = await Promise.all([driver.launch(spec, ONE), driver.launch(spec, ONE)]);
    endpoints.push(await driver.launch(spec, ONE));
    expect(new Set(endpoints.map((endpoint) => JSON.stringify(endpoint))).size).toBe(1);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('runs several replicas side by side, a new generation of one id too', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    await driver.launch(await harness.spec('serve'), identityOf(ONE.id, 2));
    expect((await driver.list()).map((found) => [found.id, found.generation])).toEqual(
      expect.arrayContaining([
        [ONE.id, 1],
        [TWO.id, 1],
        [ONE.id, 2],
      ]),
    );
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(await harness.living(identityOf(ONE.id, 2))).toBe(1);
  });

  it('launches several at once, each to an endpoint of its own', async () => {
    const { driver, harness } = fixture;
    const identities = ['a', 'b', 'c', 'd', 'e'].map((id) => identityOf(`${id}-1`));
    const specs = await Promise.all(identities.map(() => harness.spec('serve')));
    const endpoints = await Promise.all(
      identities.map(async (identity, index) => driver.launch(specs[index] ?? (await harness.spec('serve')), identity)),
    );
    expect(new Set(endpoints.map(({ origin }) => origin)).size).toBe(5);
    expect(await driver.list()).toHaveLength(5);
  });

  it('rejects a command that is not there with its cause and a clear text, and leaves nothing [F62]', async () => {
    const { driver, harness } = fixture;
    const failure = await rejection(driver.launch(await harness.spec('missing'), ONE));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'bad_arguments', message: expect.stringContaining('no-such-engine') });
    expect(await driver.list()).toEqual([]);
    expect(fixture.exits).toEqual([]);
    // A failed launch does not stick.
    await driver.launch(await harness.spec('serve'), ONE);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('has nothing to stop after a failed launch', async () => {
    const { driver, harness, exits } = fixture;
    await rejection(driver.launch(await harness.spec('missing'), ONE));
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toEqual([]);
  });

  it('gives the engine the environment of its spec', async () => {
    const { driver, harness } = fixture;
    const greeting = 'a "b" $HOME é = c';
    await driver.launch(await harness.spec('greet', { env: { GREETING: greeting } }), ONE);
    await harness.until(async () => (await driver.tail(ONE, 1))[0] === greeting);
  });

  it('gives the engine its arguments as they are: nothing is split, and no shell reads them', async () => {
    const { driver, harness, exits } = fixture;
    const words = ['', 'a b', '$HOME', '`id`', "it's", '{"a": [1]}', '--flag=é', '*'];
    await driver.launch(await harness.spec('echo-arguments', { arguments: words }), ONE);
    await harness.until(() => exits.length === 1);
    const lines = await allLines(driver.logs(ONE, { tail: 100, follow: false, signal: never() }));
    expect(lines).toEqual(words.map((word) => `[${word}]`));
  });

  it('shows nothing of the environment in what it lists', async () => {
    const { driver, harness } = fixture;
    const env = { VLLM_API_KEY: 'key-5b1c', HF_TOKEN: 'hf_4711aaaa', GREETING: 'x' };
    await driver.launch(await harness.spec('serve', { env }), ONE);
    const listed = JSON.stringify(await driver.list());
    expect(listed).not.toContain('key-5b1c');
    expect(listed).not.toContain('hf_4711aaaa');
  });

  it('starts nothing for an identity that ended and was not stopped yet', async () => {
    const { driver, harness, exits } = fixture;
    const spec = await harness.spec('exit-0');
    await driver.launch(spec, ONE);
    await harness.until(() => exits.length === 1);
    await driver.launch(spec, ONE);
    expect(await harness.living(ONE)).toBe(0);
    expect(exits).toHaveLength(1);
  });

  it('takes ids of any letters', async () => {
    const { driver, harness } = fixture;
    const odd = identityOf('../a b:é/"c"-1', 3);
    const similar = identityOf('..-a-b---c--1', 3);
    await driver.launch(await harness.spec('serve'), odd);
    await driver.launch(await harness.spec('serve'), similar);
    expect((await driver.list()).map(({ id }) => id).toSorted()).toEqual([odd.id, similar.id].toSorted());
    await harness.during(driver.stop(odd, stopOptions()));
    expect((await driver.list()).map(({ id }) => id)).toEqual([similar.id]);
  });

  it('knows the processes of an engine, as the machine numbers them', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    const ones = await driver.pids(ONE);
    const twos = await driver.pids(TWO);
    expect(ones.length).toBeGreaterThan(0);
    expect(ones.every((pid) => harness.hasProcess(pid))).toBe(true);
    expect(twos.length).toBeGreaterThan(0);
    expect(twos.filter((pid) => ones.includes(pid))).toEqual([]);
  });

  it('knows no processes of what never was, or is stopped', async () => {
    const { driver, harness } = fixture;
    expect(await driver.pids(identityOf('never-1'))).toEqual([]);
    await driver.launch(await harness.spec('serve'), ONE);
    const pids = await driver.pids(ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await driver.pids(ONE)).toEqual([]);
    expect(pids.filter((pid) => harness.hasProcess(pid))).toEqual([]);
  });
}
