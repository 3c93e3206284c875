import { expect, it } from 'vitest';
import { allLines, COUNTED, identityOf, launchStarted, never, ONE, stopOptions, TWO, type Fixture } from './harness.ts';

export function logging(fixture: Fixture): void {
  it('gives the whole log as lines, and keeps it after the engine is gone', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    await harness.until(() => exits.length === 1);
    expect(await allLines(driver.logs(ONE, { tail: 1_000, follow: false, signal: never() }))).toEqual(COUNTED);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await driver.tail(ONE, 2)).toEqual(['line 98', 'line 99']);
    expect(await allLines(driver.logs(ONE, { tail: 3, follow: true, signal: never() }))).toEqual(COUNTED.slice(-3));
  });

  it('keeps it over a restart, too', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    await harness.until(() => exits.length === 1);
    await harness.during(driver.stop(ONE, stopOptions()));
    const next = await harness.restart();
    expect(await next.tail(ONE, 2)).toEqual(['line 98', 'line 99']);
  });

  it('gives the last lines of an engine that runs, as many as are asked for', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('count-to-100'), ONE);
    await harness.until(async () => (await driver.tail(ONE, 1))[0] === 'line 99');
    expect(await driver.tail(ONE, 0)).toEqual([]);
    expect(await driver.tail(ONE, 3)).toEqual(['line 97', 'line 98', 'line 99']);
    expect(await driver.tail(ONE, 1_000)).toEqual(COUNTED);
    const three = driver.logs(ONE, { tail: 3, follow: false, signal: never() });
    expect(await allLines(three)).toEqual(['line 97', 'line 98', 'line 99']);
  });

  it('follows a log to the end of its engine, and misses nothing', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    const lines = await harness.during(allLines(driver.logs(ONE, { tail: 1_000, follow: true, signal: never() })));
    expect(lines).toEqual(COUNTED);
  });

  it('lets two follow at once, and misses nothing for either', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    const follow = (): Promise<string[]> => allLines(driver.logs(ONE, { tail: 1_000, follow: true, signal: never() }));
    expect(await harness.during(Promise.all([follow(), follow()]))).toEqual([COUNTED, COUNTED]);
  });

  it('ends following when its signal aborts, while the engine goes on', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    const controller = new AbortController();
    const lines: string[] = [];
    const followed = (async () => {
      for await (const line of driver.logs(ONE, { tail: 10, follow: true, signal: controller.signal }))
        lines.push(line);
    })();
    await harness.until(() => lines.length > 0);
    controller.abort();
    await harness.during(followed);
    expect(lines).toEqual(['started']);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('gives nothing to whoever comes with a signal that has aborted', async () => {
    const { driver } = fixture;
    await launchStarted(fixture, 'serve');
    const lines = driver.logs(ONE, { tail: 10, follow: true, signal: AbortSignal.abort() });
    expect(await allLines(lines)).toEqual([]);
  });

  it('follows from now on when no earlier lines are asked for', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    const followed = allLines(driver.logs(ONE, { tail: 0, follow: true, signal: never() }));
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.during(followed)).toEqual([]);
  });

  it('ends at once when an engine is followed that is over', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('exit-3'), ONE);
    await harness.until(() => exits.length === 1);
    const lines = driver.logs(ONE, { tail: 10, follow: true, signal: never() });
    expect(await harness.during(allLines(lines))).toEqual(['started']);
  });

  it('holds what an engine writes to either output', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('two-outputs'), ONE);
    await harness.until(async () => (await driver.tail(ONE, 10)).length === 3);
    expect((await driver.tail(ONE, 10)).toSorted()).toEqual(['an error', 'an output', 'started']);
  });

  it('gives the last line also when no newline ends it', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('no-newline'), ONE);
    await harness.until(() => exits.length === 1);
    expect(await driver.tail(ONE, 1)).toEqual(['the end']);
    const lines = driver.logs(ONE, { tail: 10, follow: false, signal: never() });
    expect(await allLines(lines)).toEqual(['started', 'the end']);
  });

  it('keeps the logs of replicas and generations apart', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    const greeting = { env: { GREETING: 'from two' } };
    await driver.launch(await harness.spec('greet', greeting), TWO);
    await driver.launch(await harness.spec('greet', { env: { GREETING: 'again' } }), identityOf(ONE.id, 2));
    await harness.until(async () => (await driver.tail(TWO, 1)).length === 1);
    await harness.until(async () => (await driver.tail(identityOf(ONE.id, 2), 1)).length === 1);
    expect(await driver.tail(ONE, 10)).toEqual(['started']);
    expect(await driver.tail(TWO, 10)).toEqual(['from two']);
    expect(await driver.tail(identityOf(ONE.id, 2), 10)).toEqual(['again']);
  });

  it('knows no lines of a replica that never was', async () => {
    const { driver } = fixture;
    expect(await driver.tail(identityOf('never-1'), 10)).toEqual([]);
    const lines = driver.logs(identityOf('never-1'), { tail: 10, follow: true, signal: never() });
    expect(await allLines(lines)).toEqual([]);
  });
}
