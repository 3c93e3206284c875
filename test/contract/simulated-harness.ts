import type { LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import { SimulatedDriver } from '../../src/drivers/simulated/simulated-driver.ts';
import { SimulatedMachine, type SimulatedScript } from '../../src/drivers/simulated/simulated-machine.ts';
import { createTestPlatform } from '../support/test-platform.ts';
import { settle } from '../support/virtual-clock.ts';
import type { DriverHarness, Program } from './driver-contract.ts';

const STARTED = { at: 0, text: 'started' };
const COUNT = Array.from({ length: 100 }, (_, index) => ({ at: 10 + index * 10, text: `line ${index}` }));

const SCRIPTS: Readonly<Record<Program, SimulatedScript>> = {
  serve: { lines: [STARTED] },
  'ignore-term': { lines: [STARTED], onTerm: 'ignore' },
  'exit-0': { lines: [STARTED], exit: { at: 50, code: 0 } },
  'exit-3': { lines: [STARTED], exit: { at: 50, code: 3 } },
  'count-to-100': { lines: [STARTED, ...COUNT] },
  'count-then-exit': { lines: [STARTED, ...COUNT], exit: { at: 1_500, code: 0 } },
  missing: { refuse: { failure: 'bad_arguments', message: "the command 'no-such-engine' is not installed" } },
};

export async function simulatedHarness(): Promise<DriverHarness> {
  const platform = createTestPlatform();
  const { clock } = platform;
  const machine = new SimulatedMachine(clock, (spec) => SCRIPTS[spec.argv[0] as Program]);
  let current = new SimulatedDriver({ platform }, machine);
  let port = 20_000;
  const processOf = (replica: ReplicaRef) => machine.processes.get(`${replica.id}\n${replica.generation}`);
  return {
    driver: current,
    async restart() {
      await current.close();
      current = new SimulatedDriver({ platform }, machine);
      return current;
    },
    async spec(program): Promise<LaunchSpec> {
      return {
        argv: [program],
        env: {},
        host: '127.0.0.1',
        port: port++,
        url: null,
        deviceUuids: null,
        container: null,
      };
    },
    murder: (replica) => processOf(replica)?.end(null, 'SIGKILL'),
    living: async (replica) => (processOf(replica)?.exit === null ? 1 : 0),
    async during(promise) {
      let settled = false;
      const done = (): void => {
        settled = true;
      };
      promise.then(done, done);
      await clock.runUntil(() => settled);
      return promise;
    },
    async until(condition) {
      await settle();
      while (!(await condition())) {
        if (!clock.runNext()) throw new Error('the condition does not hold and no timer is armed');
        await settle();
      }
    },
    async close() {
      await current.close();
    },
  };
}
