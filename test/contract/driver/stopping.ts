import { expect, it } from 'vitest';
import { identityOf, launchStarted, ONE, stopOptions, TWO, type Fixture } from './harness.ts';

export function stopping(fixture: Fixture): void {
  it('stops what runs and leaves nothing of it', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(await driver.list()).toEqual([]);
  });

  it('stops idempotently, one call after the other and both at once [item 75] [F56]', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(Promise.all([driver.stop(ONE, stopOptions()), driver.stop(ONE, stopOptions())]));
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toHaveLength(1);
    expect(await harness.living(ONE)).toBe(0);
  });

  it('has nothing to do for a replica that never was, or is gone already [F58]', async () => {
    const { driver, harness, exits } = fixture;
    await harness.during(driver.stop(identityOf('never-1'), stopOptions()));
    await driver.launch(await harness.spec('exit-3'), ONE);
    await harness.until(() => exits.length === 1);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toHaveLength(1);
    expect(await driver.list()).toEqual([]);
  });

  it('asks first: who ends by itself is neither killed nor cut off', async () => {
    const { driver, harness, exits } = fixture;
    let cuts = 0;
    await launchStarted(fixture, 'serve');
    await harness.during(driver.stop(ONE, stopOptions({ timeout: 30_000, cutConnections: () => (cuts += 1) })));
    expect(cuts).toBe(0);
    expect(exits).toHaveLength(1);
    expect(exits[0]?.signal).not.toBe('SIGKILL');
  });

  it('ends an engine that ignores the signal, after its connections were cut, once', async () => {
    const { driver, harness, exits } = fixture;
    let cuts = 0;
    await launchStarted(fixture, 'ignore-term');
    await harness.during(driver.stop(ONE, stopOptions({ cutConnections: () => (cuts += 1) })));
    expect(cuts).toBe(1);
    expect(await harness.living(ONE)).toBe(0);
    expect(exits).toMatchObject([{ signal: 'SIGKILL' }]);
  });

  it('ends one that is still starting and lost the signal', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'ignore-term');
    await harness.during(driver.stop(ONE, stopOptions({ starting: true, timeout: 30_000 })));
    expect(await harness.living(ONE)).toBe(0);
  });

  it('ends an engine that ignores the signal within little time, too', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'ignore-term');
    await harness.during(driver.stop(ONE, stopOptions({ timeout: 3_000 })));
    expect(await harness.living(ONE)).toBe(0);
  });

  it('stops one and leaves the others alone', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.living(TWO)).toBe(1);
    expect((await driver.list()).map(({ id }) => id)).toEqual([TWO.id]);
    expect(exits).toHaveLength(1);
  });

  it('stops several at once', async () => {
    const { driver, harness, exits } = fixture;
    const identities = ['a', 'b', 'c', 'd'].map((id) => identityOf(`${id}-1`));
    for (const identity of identities) await driver.launch(await harness.spec('serve'), identity);
    await harness.during(Promise.all(identities.map((identity) => driver.stop(identity, stopOptions()))));
    expect(exits.map(({ replica }) => replica.id).toSorted()).toEqual(identities.map(({ id }) => id));
    expect(await driver.list()).toEqual([]);
  });

  it('can launch the same identity again after a stop', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    await driver.launch(await harness.spec('serve'), ONE);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('stops what was launched a moment ago, whose launch nobody waited for', async () => {
    const { driver, harness } = fixture;
    const launch = driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions({ starting: true })));
    await launch;
    expect(await harness.living(ONE)).toBe(0);
    expect(await driver.list()).toEqual([]);
  });

  it('makes a launch wait for the stop of the same replica', async () => {
    const { driver, harness, exits } = fixture;
    const spec = await harness.spec('serve');
    await launchStarted(fixture, 'ignore-term');
    const stop = driver.stop(ONE, stopOptions({ timeout: 3_000 }));
    const launch = stop.then(() => driver.launch(spec, ONE));
    await harness.during(Promise.all([stop, launch]));
    expect(exits).toHaveLength(1);
    expect(await harness.living(ONE)).toBe(1);
  });
}
