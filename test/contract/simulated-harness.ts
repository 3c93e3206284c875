import type { FetchSpec, LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import { SimulatedDriver } from '../../src/drivers/simulated/simulated-driver.ts';
import {
  SimulatedMachine,
  type SimulatedFetch,
  type SimulatedScript,
} from '../../src/drivers/simulated/simulated-machine.ts';
import { createTestPlatform } from '../support/test-platform.ts';
import { settle } from '../support/virtual-clock.ts';
import type { DriverHarness } from './driver-contract.ts';
import type { FetchProgram, Program } from './driver/harness.ts';

const MANY_TURNS = 100;

const STARTED = { at: 0, text: 'started' };
const COUNT = Array.from({ length: 100 }, (_, index) => ({ at: 10 + index * 10, text: `line ${index}` }));

const SCRIPTS: Readonly<Record<Program, (spec: LaunchSpec) => SimulatedScript>> = {
  serve: () => ({ lines: [STARTED] }),
  'ignore-term': () => ({ lines: [STARTED], onTerm: 'ignore' }),
  'exit-0': () => ({ lines: [STARTED], exit: { at: 50, code: 0 } }),
  'exit-3': () => ({ lines: [STARTED], exit: { at: 50, code: 3 } }),
  'count-to-100': () => ({ lines: [STARTED, ...COUNT] }),
  'count-then-exit': () => ({ lines: [STARTED, ...COUNT], exit: { at: 1_500, code: 0 } }),
  'two-outputs': () => ({ lines: [STARTED, { at: 5, text: 'an output' }, { at: 5, text: 'an error' }] }),
  'no-newline': () => ({ lines: [STARTED, { at: 5, text: 'the end' }], exit: { at: 50, code: 0 } }),
  greet: ({ env }) => ({ lines: [{ at: 0, text: env['GREETING'] ?? '' }] }),
  'echo-arguments': ({ argv }) => ({
    lines: argv.slice(1).map((word) => ({ at: 5, text: `[${word}]` })),
    exit: { at: 50, code: 0 },
  }),
  missing: () => ({ refuse: { failure: 'bad_arguments', message: "the command 'no-such-engine' is not installed" } }),
};

const HALF = { after: 100, phase: 'weights', fraction: 0.5 } as const;

const FETCHES: Readonly<Record<FetchProgram, SimulatedFetch>> = {
  bars: { steps: [HALF, { after: 600, phase: 'weights', fraction: 1 }] },
  gated: {
    steps: [HALF],
    refuse: {
      failure: 'model_files',
      message: 'exit code 1: OSError: 401 Client Error: access to org/gated is restricted',
    },
  },
  hang: { steps: [{ after: 10, phase: 'weights', fraction: null }], hang: true },
  missing: { refuse: { failure: 'bad_arguments', message: "the command 'no-such-engine' is not installed" } },
};

export async function simulatedHarness(): Promise<DriverHarness> {
  const platform = createTestPlatform();
  const { clock } = platform;
  const machine = new SimulatedMachine(clock, (spec) => SCRIPTS[spec.argv[0] as Program](spec));
  machine.fetch = ({ argv }) => (argv === null ? {} : FETCHES[argv[0] as FetchProgram]);
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
    stranger: async () => new SimulatedDriver({ platform }),
    spec: async (program, { env = {}, arguments: words = [] } = {}): Promise<LaunchSpec> => ({
      ...{ argv: [program, ...words], env, host: '127.0.0.1', port: port++ },
      ...{ url: null, deviceUuids: null, container: null },
    }),
    fetchSpec: async (program): Promise<FetchSpec> => ({
      argv: program === null ? null : [program],
      env: {},
      container: null,
    }),
    portsOfMachine: true,
    origin: (spec) => new RegExp(`^http://127\\.0\\.0\\.1:${spec.port}$`),
    fetching: async () => machine.fetching,
    hasProcess: (pid) =>
      [...machine.processes.values()].some((process) => process.endpoint.pid === pid && process.exit === null),
    murder: (replica) => processOf(replica)?.end(null, 'SIGKILL'),
    living: async (replica) => (processOf(replica)?.exit === null ? 1 : 0),
    async during(promise) {
      let settled = false;
      const done = (): void => {
        settled = true;
      };
      promise.then(done, done);
      // A log of many lines takes more turns than one settling has.
      for (let idle = 0; !settled && idle < MANY_TURNS;) {
        await settle();
        if (!settled && !clock.runNext()) idle += 1;
      }
      if (!settled) throw new Error('the promise does not settle and no timer is armed');
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
