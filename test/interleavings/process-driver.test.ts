import fc, { type Scheduler } from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LaunchSpec } from '../../src/core/launch.ts';
import type { ExitReport, ReplicaIdentity, StopOptions } from '../../src/drivers/driver.ts';
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import type { Platform } from '../../src/platform/platform.ts';
import { SECOND } from '../../src/units.ts';
import { createTestPlatform, type TestPlatform } from '../support/test-platform.ts';
import { settle } from '../support/virtual-clock.ts';

const RUNS = { numRuns: 150 };
const STATE = '/state';
const IDENTITY: ReplicaIdentity = { id: 'a-1', generation: 1, model: 'a', specHash: 'spec', reservations: new Map() };
const SPEC: LaunchSpec = {
  argv: ['engine'],
  env: {},
  host: '127.0.0.1',
  port: 20_001,
  url: null,
  deviceUuids: null,
  container: null,
};
const STOP: StopOptions = { timeout: 9 * SECOND, starting: false, cutConnections: () => undefined };

/** A driver of processes on a machine whose every answer comes when the scheduler says so. */
class ScheduledMachine {
  readonly platform: TestPlatform = createTestPlatform();
  readonly reports: ExitReport[] = [];
  readonly #scheduler: Scheduler;
  #platform: Platform;
  driver: ProcessDriver;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    this.#platform = this.#slow();
    this.driver = this.#begin();
  }

  /** Another gateway process in the place of the one before, which was killed: what it waits for never comes. */
  restart(): void {
    this.#platform = this.#slow();
    this.driver = this.#begin();
  }

  get living(): number {
    return [...this.platform.subprocess.processes.values()].filter(({ alive }) => alive).length;
  }

  async records(): Promise<readonly string[]> {
    return (await this.platform.files.list(`${STATE}/replicas`)).filter((name) => name.endsWith('.json'));
  }

  /** Until nothing is under way any more. */
  async rest(work: Promise<unknown>): Promise<void> {
    let over = false;
    void work.then(() => (over = true));
    for (let round = 0; round < 400 && !over; round += 1) {
      await this.#scheduler.waitIdle();
      await settle();
      if (!over) this.platform.clock.advance(100);
    }
    expect(over, 'it comes to an end').toBe(true);
  }

  #begin(): ProcessDriver {
    const driver = new ProcessDriver({
      platform: this.#platform,
      stateDir: STATE,
      gatewayId: 'gw',
      notice: () => undefined,
    });
    driver.watch((exit) => void this.reports.push(exit));
    return driver;
  }

  #slow(): Platform {
    const { files, subprocess } = this.platform;
    return { ...this.platform, files: this.#later(files), subprocess: this.#later(subprocess) };
  }

  /** What answers with a promise answers later, as long as it is this process that asked. */
  #later<T extends object>(real: T): T {
    const scheduler = this.#scheduler;
    const stillHere = (): boolean => this.#platform.files === proxy || this.#platform.subprocess === proxy;
    const proxy: T = new Proxy(real, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...given: unknown[]): unknown => {
          const answer: unknown = member.apply(target, given);
          if (!(answer instanceof Promise)) return answer;
          return scheduler
            .schedule(answer.catch((error: unknown) => ({ error })) as Promise<unknown>, String(name))
            .then((value) => (stillHere() ? unpacked(value) : new Promise(() => undefined)));
        };
      },
    });
    return proxy;
  }
}

function unpacked(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && 'error' in value) throw value.error;
  return value;
}

function property(
  body: (machine: ScheduledMachine, scheduler: Scheduler, ends: 'crashes' | 'stays') => Promise<void>,
): Promise<void> {
  return fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.constantFrom('crashes' as const, 'stays' as const), async (scheduler, ends) => {
      await body(new ScheduledMachine(scheduler), scheduler, ends);
    }),
    RUNS,
  );
}

describe('a driver of processes, in every order of what its machine answers', () => {
  it(
    '[I-33] leaves no process and no record when a stop comes at any point of a launch',
    () =>
      property(async (machine, scheduler, ends) => {
        const launched = machine.driver.launch(SPEC, IDENTITY).catch(() => undefined);
        const stopped = scheduler.schedule(Promise.resolve(), 'stop').then(() => machine.driver.stop(IDENTITY, STOP));
        if (ends === 'crashes') void scheduler.schedule(Promise.resolve(), 'crash').then(() => crash(machine));
        await machine.rest(Promise.all([launched, stopped]));
        expect(machine.living).toBe(0);
        expect(await machine.records()).toEqual([]);
        expect(machine.reports.length).toBeLessThanOrEqual(1);
      }),
    60_000,
  );

  it(
    '[I-33] answers two stops and tells one exit',
    () =>
      property(async (machine, scheduler, ends) => {
        await machine.rest(machine.driver.launch(SPEC, IDENTITY));
        const stops = [1, 2].map(() =>
          scheduler.schedule(Promise.resolve(), 'stop').then(() => machine.driver.stop(IDENTITY, STOP)),
        );
        if (ends === 'crashes') void scheduler.schedule(Promise.resolve(), 'crash').then(() => crash(machine));
        await machine.rest(Promise.all(stops));
        expect(machine.living).toBe(0);
        expect(await machine.records()).toEqual([]);
        expect(machine.reports).toHaveLength(1);
      }),
    60_000,
  );

  it(
    '[I-88] finds what it had launched after a kill at any point, and ends it',
    () =>
      property(async (machine, scheduler, ends) => {
        void machine.driver.launch(SPEC, IDENTITY).catch(() => undefined);
        const killed = scheduler.schedule(Promise.resolve(), 'kill').then(() => machine.restart());
        await machine.rest(killed);
        if (ends === 'crashes') crash(machine);
        let found = 0;
        await machine.rest(
          machine.driver.list().then((list) => {
            found = list.length;
            for (const replica of list) machine.driver.adopt(replica);
          }),
        );
        expect(found).toBe(machine.living);
        await machine.rest(machine.driver.stop(IDENTITY, STOP));
        expect(machine.living).toBe(0);
        expect(await machine.records()).toEqual([]);
      }),
    60_000,
  );

  it(
    '[I-88] does not lose a launch that is under way when it is asked what there is',
    () =>
      property(async (machine, scheduler) => {
        const launched = machine.driver.launch(SPEC, IDENTITY);
        const listed = scheduler.schedule(Promise.resolve(), 'list').then(() => machine.driver.list());
        await machine.rest(Promise.all([launched, listed]));
        expect(machine.living).toBe(1);
        expect(await machine.records()).toHaveLength(1);
        await machine.rest(machine.driver.stop(IDENTITY, STOP));
        expect(machine.living).toBe(0);
      }),
    60_000,
  );
});

function crash({ platform }: ScheduledMachine): void {
  for (const process of platform.subprocess.processes.values()) process.exit(1);
}
