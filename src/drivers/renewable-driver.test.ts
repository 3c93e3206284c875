import { describe, expect, it } from 'vitest';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import type { Driver, ExitReport } from './driver.ts';
import { RenewableDriver } from './renewable-driver.ts';
import { SimulatedDriver } from './simulated/simulated-driver.ts';

const EXIT: ExitReport = { replica: { id: 'a-1', generation: 1 }, code: 1, signal: null, detail: 'exit code 1' };

/** Remembers whether it was closed, and whom it would tell of an exit. */
class Scripted extends SimulatedDriver {
  closed = false;
  exit: (report: ExitReport) => void = () => undefined;
  override watch(report: (exit: ExitReport) => void): Disposable {
    this.exit = report;
    return super.watch(report);
  }
  override async close(): Promise<void> {
    this.closed = true;
    await super.close();
  }
}

function bench(worthListing?: () => Promise<boolean>): { readonly driver: Driver; readonly made: readonly Scripted[] } {
  const made: Scripted[] = [];
  const platform = createTestPlatform();
  const create = (): Driver => {
    const driver = new Scripted({ platform });
    made.push(driver);
    return driver;
  };
  return { driver: new RenewableDriver('simulated', create, worthListing), made };
}

describe('a driver that is made when it is needed', () => {
  it('is not made by a look, a watch or its end', async () => {
    const { driver, made } = bench(async () => false);
    driver.watch(() => undefined);
    expect([await driver.list(), await driver.pids(EXIT.replica), driver.trouble?.()]).toEqual([[], [], null]);
    await driver.close();
    expect(made).toEqual([]);
  });

  it('is made anew after it was closed, and whoever watches is told by every one', async () => {
    const { driver, made } = bench();
    const told: ExitReport[] = [];
    const watching = driver.watch((exit) => told.push(exit));
    await driver.list();
    await driver.close();
    await driver.list();
    expect(made.map(({ closed }) => closed)).toEqual([true, false]);
    made[1]?.exit(EXIT);
    expect(told).toEqual([EXIT]);
    watching[Symbol.dispose]();
    made[1]?.exit(EXIT);
    expect(told).toEqual([EXIT]);
  });
});
