import { expect, it } from 'vitest';
import type { ExitReport } from '../../../src/drivers/driver.ts';
import { identityOf, launchStarted, ONE, stopOptions, TWO, type Fixture } from './harness.ts';

export function exiting(fixture: Fixture): void {
  it.each([
    ['exit-0', 0],
    ['exit-3', 3],
  ] as const)('reports an exit once, whatever its code (%s)', async (program, code) => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec(program), ONE);
    await harness.until(() => exits.length > 0);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toEqual([
      { replica: { id: ONE.id, generation: 1 }, code, signal: null, detail: `exit code ${code}` },
    ]);
  });

  it('reports an engine that was killed by somebody else', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.murder(ONE);
    await harness.until(() => exits.length > 0);
    expect(exits).toMatchObject([{ replica: { id: ONE.id }, code: null, signal: 'SIGKILL' }]);
    expect(exits[0]?.detail).toContain('SIGKILL');
  });

  it('reports the exit that a stop asked for, before the stop resolves', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toHaveLength(1);
  });

  it('tells the exits of replicas and generations apart', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('exit-3'), TWO);
    await driver.launch(await harness.spec('exit-0'), identityOf(ONE.id, 2));
    await harness.until(() => exits.length === 2);
    expect(exits.map(({ replica, code }) => [replica.id, replica.generation, code])).toEqual(
      expect.arrayContaining([
        [TWO.id, 1, 3],
        [ONE.id, 2, 0],
      ]),
    );
    expect(await harness.living(ONE)).toBe(1);
  });

  it('reports nothing of an engine that runs', async () => {
    const { driver, harness, exits } = fixture;
    await launchStarted(fixture, 'serve');
    await driver.launch(await harness.spec('exit-0'), TWO);
    await harness.until(() => exits.length > 0);
    await driver.list();
    expect(exits.map(({ replica }) => replica.id)).toEqual([TWO.id]);
  });

  it('tells every watcher, and none after it was disposed', async () => {
    const { driver, harness, exits } = fixture;
    const others: ExitReport[] = [];
    const watch = driver.watch((exit) => others.push(exit));
    await driver.launch(await harness.spec('exit-0'), ONE);
    await harness.until(() => others.length === 1 && exits.length === 1);
    watch[Symbol.dispose]();
    watch[Symbol.dispose]();
    await driver.launch(await harness.spec('exit-0'), TWO);
    await harness.until(() => exits.length === 2);
    expect(others).toHaveLength(1);
  });
}
