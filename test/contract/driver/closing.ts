import { expect, it } from 'vitest';
import { allLines, fetchOptions, launchStarted, never, ONE, rejection, type Fixture } from './harness.ts';

export function closing(fixture: Fixture): void {
  it('leaves engines running when it is closed, and can be closed twice', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    await driver.close();
    await driver.close();
    expect(await harness.living(ONE)).toBe(1);
  });

  it('reports nothing any more once it is closed', async () => {
    const { driver, harness, exits } = fixture;
    await launchStarted(fixture, 'serve');
    await driver.close();
    await harness.murder(ONE);
    await harness.until(async () => (await harness.living(ONE)) === 0);
    expect(exits).toEqual([]);
  });

  it('ends those who follow a log when it is closed', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    const lines: string[] = [];
    const followed = (async () => {
      for await (const line of driver.logs(ONE, { tail: 10, follow: true, signal: never() })) lines.push(line);
    })();
    await harness.until(() => lines.length === 1);
    await driver.close();
    await harness.during(followed);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('ends the fetches that run when it is closed', async () => {
    const { driver, harness } = fixture;
    const fetch = rejection(driver.fetch(await harness.fetchSpec('hang'), fetchOptions()));
    await harness.until(async () => (await harness.fetching()) === 1);
    await driver.close();
    await harness.during(fetch);
    expect(await harness.fetching()).toBe(0);
  });

  it('says that nothing is in its way', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    expect(driver.trouble?.() ?? null).toBeNull();
    expect(await allLines(driver.logs(ONE, { tail: 0, follow: false, signal: never() }))).toEqual([]);
  });
}
