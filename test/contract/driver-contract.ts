/**
 * What every driver promises to the controller. The suite knows nothing of processes or containers: a harness turns its
 * programs into something that its driver can launch, and lets time pass.
 */
import { afterEach, beforeEach, describe } from 'vitest';
import { closing } from './driver/closing.ts';
import { exiting } from './driver/exiting.ts';
import { fetching } from './driver/fetching.ts';
import type { DriverHarness, Fixture } from './driver/harness.ts';
import { launching } from './driver/launching.ts';
import { logging } from './driver/logging.ts';
import { restarting } from './driver/restarting.ts';
import { stopping } from './driver/stopping.ts';

export { allLines, identityOf, stopOptions, type DriverHarness, type Program } from './driver/harness.ts';

export function driverContract(name: string, create: () => Promise<DriverHarness>): void {
  describe(`${name}: the driver contract`, () => {
    const fixture = { exits: [] } as unknown as Fixture;

    beforeEach(async () => {
      fixture.harness = await create();
      fixture.driver = fixture.harness.driver;
      fixture.exits.length = 0;
      fixture.driver.watch((exit) => fixture.exits.push(exit));
    });
    afterEach(async () => {
      await fixture.harness.close();
    });

    launching(fixture);
    exiting(fixture);
    stopping(fixture);
    restarting(fixture);
    logging(fixture);
    fetching(fixture);
    closing(fixture);
  });
}
