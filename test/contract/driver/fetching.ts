import { expect, it } from 'vitest';
import { LaunchError } from '../../../src/drivers/driver.ts';
import { fetchOptions, launchStarted, ONE, rejection, type Fixture, type Told } from './harness.ts';

export function fetching(fixture: Fixture): void {
  it('fetches by running a command to its end, and says how far it is', async () => {
    const { driver, harness } = fixture;
    const told: Told[] = [];
    await harness.during(driver.fetch(await harness.fetchSpec('bars'), fetchOptions(told)));
    const weights = told.filter(({ phase }) => phase === 'weights');
    expect(weights.length).toBeGreaterThan(0);
    for (const { fraction } of told) {
      if (fraction !== null) expect(fraction).toBeGreaterThanOrEqual(0);
      if (fraction !== null) expect(fraction).toBeLessThanOrEqual(1);
    }
    expect(weights.some(({ fraction }) => fraction !== null && fraction >= 0.5)).toBe(true);
    expect(await harness.fetching()).toBe(0);
  });

  it('has nothing to run when everything else is there', async () => {
    const { driver, harness } = fixture;
    const fetched = await harness.during(driver.fetch(await harness.fetchSpec(null), fetchOptions()));
    expect(fetched.image === null || fetched.image.startsWith('sha256:')).toBe(true);
    expect(await harness.during(driver.fetch(await harness.fetchSpec(null), fetchOptions()))).toEqual(fetched);
  });

  it('tells why a fetch failed, by its last words', async () => {
    const { driver, harness } = fixture;
    const failure = await harness.during(rejection(driver.fetch(await harness.fetchSpec('gated'), fetchOptions())));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'model_files' });
    expect(String(failure)).toContain('401 Client Error: access to org/gated is restricted');
    expect(String(failure)).toContain('exit code 1');
    expect(String(failure)).not.toContain('hf_secret');
    expect(await harness.fetching()).toBe(0);
  });

  it('rejects a fetch whose command is not there', async () => {
    const { driver, harness } = fixture;
    const failure = await harness.during(rejection(driver.fetch(await harness.fetchSpec('missing'), fetchOptions())));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'bad_arguments', message: expect.stringContaining('no-such-engine') });
    expect(await harness.fetching()).toBe(0);
  });

  it('ends all of a fetch when its signal aborts', async () => {
    const { driver, harness } = fixture;
    const told: Told[] = [];
    const controller = new AbortController();
    const fetch = rejection(driver.fetch(await harness.fetchSpec('hang'), fetchOptions(told, controller.signal)));
    await harness.until(async () => told.length > 0 && (await harness.fetching()) === 1);
    const reason = new Error('nobody wants it any more');
    controller.abort(reason);
    expect(await harness.during(fetch)).toBe(reason);
    expect(await harness.fetching()).toBe(0);
  });

  it('begins nothing when its signal has aborted', async () => {
    const { driver, harness } = fixture;
    const told: Told[] = [];
    const reason = new Error('too late');
    const aborted = fetchOptions(told, AbortSignal.abort(reason));
    expect(await harness.during(rejection(driver.fetch(await harness.fetchSpec('bars'), aborted)))).toBe(reason);
    expect(told).toEqual([]);
  });

  it('runs several fetches at once, and one that fails harms no other', async () => {
    const { driver, harness } = fixture;
    const controller = new AbortController();
    const hang = rejection(driver.fetch(await harness.fetchSpec('hang'), fetchOptions([], controller.signal)));
    const gated = rejection(driver.fetch(await harness.fetchSpec('gated'), fetchOptions()));
    const bars = driver.fetch(await harness.fetchSpec('bars'), fetchOptions());
    expect(await harness.during(gated)).toBeInstanceOf(LaunchError);
    await harness.during(bars);
    expect(await harness.fetching()).toBe(1);
    controller.abort();
    await harness.during(hang);
    expect(await harness.fetching()).toBe(0);
  });

  it('neither lists a fetch as a replica nor reports its end', async () => {
    const { driver, harness, exits } = fixture;
    const controller = new AbortController();
    const fetch = rejection(driver.fetch(await harness.fetchSpec('hang'), fetchOptions([], controller.signal)));
    await harness.until(async () => (await harness.fetching()) === 1);
    expect(await driver.list()).toEqual([]);
    expect(await harness.fetching()).toBe(1);
    controller.abort();
    await harness.during(fetch);
    expect(exits).toEqual([]);
  });

  it('leaves running engines alone', async () => {
    const { driver, harness, exits } = fixture;
    await launchStarted(fixture, 'serve');
    await harness.during(driver.fetch(await harness.fetchSpec('bars'), fetchOptions()));
    await harness.during(rejection(driver.fetch(await harness.fetchSpec('gated'), fetchOptions())));
    expect(await harness.living(ONE)).toBe(1);
    expect(exits).toEqual([]);
  });
}
