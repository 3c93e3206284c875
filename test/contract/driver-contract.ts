/**
 * What every driver promises to the controller. The suite knows nothing of processes or containers: a harness turns the
 * programs below into something that its driver can launch, and lets time pass.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import {
  LaunchError,
  type Driver,
  type ExitReport,
  type ReplicaIdentity,
  type StopOptions,
} from '../../src/drivers/driver.ts';
import { GIB } from '../../src/units.ts';

/** `serve` runs until SIGTERM; the others are named after what they do differently. All write `started` first. */
export type Program = 'serve' | 'ignore-term' | 'exit-0' | 'exit-3' | 'count-to-100' | 'count-then-exit' | 'missing';

export interface DriverHarness {
  readonly driver: Driver;
  /** Closes the driver and makes another one where it ran, as after a restart of the gateway. */
  restart(): Promise<Driver>;
  spec(program: Program): Promise<LaunchSpec>;
  /** The engine dies, and the driver did not do it. */
  murder(replica: ReplicaRef): void;
  /** How many engines run that were launched as this replica. */
  living(replica: ReplicaRef): Promise<number>;
  /** Lets time pass until the promise settles, and settles like it. */
  during<T>(promise: Promise<T>): Promise<T>;
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Ends everything that is left. */
  close(): Promise<void>;
}

export function identityOf(id: string, generation = 1): ReplicaIdentity {
  return { id, generation, model: 'org/model a', specHash: 'hash', reservations: new Map([['gpu-0', 20 * GIB]]) };
}

export interface Fixture {
  harness: DriverHarness;
  driver: Driver;
  readonly exits: ExitReport[];
}

const ONE = identityOf('one-1');
const TWO = identityOf('two-2');

/** Small enough for a test, large enough for a busy machine: SIGKILL comes after a third of it. */
export function stopOptions(more: Partial<StopOptions> = {}): StopOptions {
  return { timeout: 6_000, starting: false, cutConnections: () => {}, ...more };
}

export async function allLines(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

const never = (): AbortSignal => new AbortController().signal;

export function driverContract(name: string, create: () => Promise<DriverHarness>): void {
  describe(`${name}: the driver contract`, () => {
    const fixture = { exits: [] as ExitReport[] } as Fixture;

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
  });
}

function launching(fixture: Fixture): void {
  it('launches to an endpoint of the asked host and port', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoint = await driver.launch(spec, ONE);
    expect(endpoint).toMatchObject({ origin: `http://127.0.0.1:${spec.port}`, pathPrefix: '' });
    expect(await harness.living(ONE)).toBe(1);
  });

  it('launches once per identity, however often and however concurrently it is asked [item 59]', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoints = await Promise.all([driver.launch(spec, ONE), driver.launch(spec, ONE)]);
    endpoints.push(await driver.launch(spec, ONE));
    expect(new Set(endpoints.map((endpoint) => JSON.stringify(endpoint))).size).toBe(1);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('runs several replicas side by side, a new generation of one id too', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    await driver.launch(await harness.spec('serve'), identityOf(ONE.id, 2));
    expect((await driver.list()).map((found) => [found.id, found.generation])).toEqual(
      expect.arrayContaining([
        [ONE.id, 1],
        [TWO.id, 1],
        [ONE.id, 2],
      ]),
    );
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(await harness.living(identityOf(ONE.id, 2))).toBe(1);
  });

  it('rejects a command that is not there with its cause and a clear text, and leaves nothing', async () => {
    const { driver, harness } = fixture;
    const failure = await driver.launch(await harness.spec('missing'), ONE).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'bad_arguments', message: expect.stringContaining('no-such-engine') });
    expect(await driver.list()).toEqual([]);
    expect(fixture.exits).toEqual([]);
    // A failed launch does not stick.
    await driver.launch(await harness.spec('serve'), ONE);
    expect(await harness.living(ONE)).toBe(1);
  });
}

function exiting(fixture: Fixture): void {
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
    harness.murder(ONE);
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

  it('tells every watcher, and none after it was disposed', async () => {
    const { driver, harness, exits } = fixture;
    const others: ExitReport[] = [];
    const watch = driver.watch((exit) => others.push(exit));
    await driver.launch(await harness.spec('exit-0'), ONE);
    await harness.until(() => others.length === 1 && exits.length === 1);
    watch[Symbol.dispose]();
    await driver.launch(await harness.spec('exit-0'), TWO);
    await harness.until(() => exits.length === 2);
    expect(others).toHaveLength(1);
  });
}

function stopping(fixture: Fixture): void {
  it('stops what runs and leaves nothing of it', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(await driver.list()).toEqual([]);
  });

  it('stops idempotently, one call after the other and both at once [item 75]', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(Promise.all([driver.stop(ONE, stopOptions()), driver.stop(ONE, stopOptions())]));
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toHaveLength(1);
    expect(await harness.living(ONE)).toBe(0);
  });

  it('has nothing to do for a replica that never was, or is gone already', async () => {
    const { driver, harness, exits } = fixture;
    await harness.during(driver.stop(identityOf('never-1'), stopOptions()));
    await driver.launch(await harness.spec('exit-3'), ONE);
    await harness.until(() => exits.length === 1);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(exits).toHaveLength(1);
    expect(await driver.list()).toEqual([]);
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

  it('can launch the same identity again after a stop', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await harness.during(driver.stop(ONE, stopOptions()));
    await driver.launch(await harness.spec('serve'), ONE);
    expect(await harness.living(ONE)).toBe(1);
  });
}

function restarting(fixture: Fixture): void {
  it('lists what runs, with everything the core must know of it', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoint = await driver.launch(spec, ONE);
    const [found, ...others] = await driver.list();
    expect(others).toEqual([]);
    expect(found).toEqual({
      id: ONE.id,
      generation: 1,
      model: ONE.model,
      specHash: ONE.specHash,
      reservations: ONE.reservations,
      port: spec.port,
      endpoint,
      usable: true,
      ageMs: expect.any(Number),
    });
  });

  it('finds after a restart what an earlier gateway launched, adopts it, and sees its exit once [item 73]', async () => {
    const { driver, harness } = fixture;
    const endpoint = await driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    const exits: ExitReport[] = [];
    next.watch((exit) => exits.push(exit));
    expect(await next.list()).toMatchObject([{ id: ONE.id, generation: 1, usable: true, endpoint }]);
    next.adopt(ONE);
    harness.murder(ONE);
    await harness.until(() => exits.length > 0);
    await harness.during(next.stop(ONE, stopOptions()));
    expect(exits).toMatchObject([{ replica: { id: ONE.id, generation: 1 } }]);
    expect(await next.list()).toEqual([]);
  });

  it('stops what it adopted, and reports that exit once too', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('ignore-term'), ONE);
    const next = await harness.restart();
    const exits: ExitReport[] = [];
    next.watch((exit) => exits.push(exit));
    await next.list();
    next.adopt(ONE);
    await harness.during(next.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(exits).toHaveLength(1);
  });

  it('stops what it found and did not adopt', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    await next.list();
    await harness.during(next.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(await next.list()).toEqual([]);
  });

  it('launches nothing twice over a restart', async () => {
    const { driver, harness } = fixture;
    const spec = await harness.spec('serve');
    const endpoint = await driver.launch(spec, ONE);
    const next = await harness.restart();
    await next.list();
    next.adopt(ONE);
    expect(await next.launch(spec, ONE)).toEqual(endpoint);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('refuses to adopt what it never found', () => {
    expect(() => fixture.driver.adopt(identityOf('never-1'))).toThrow('never-1');
  });
}

function logging(fixture: Fixture): void {
  it('gives the whole log as lines, and keeps it after the engine is gone', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    await harness.until(() => exits.length === 1);
    const expected = ['started', ...Array.from({ length: 100 }, (_, index) => `line ${index}`)];
    expect(await allLines(driver.logs(ONE, { tail: 1_000, follow: false, signal: never() }))).toEqual(expected);
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await driver.tail(ONE, 2)).toEqual(['line 98', 'line 99']);
    expect(await allLines(driver.logs(ONE, { tail: 3, follow: true, signal: never() }))).toEqual(expected.slice(-3));
  });

  it('follows a log to the end of its engine, and misses nothing', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('count-then-exit'), ONE);
    const lines = await harness.during(allLines(driver.logs(ONE, { tail: 1_000, follow: true, signal: never() })));
    expect(lines).toEqual(['started', ...Array.from({ length: 100 }, (_, index) => `line ${index}`)]);
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

  it('follows from now on when no earlier lines are asked for', async () => {
    const { driver, harness } = fixture;
    await launchStarted(fixture, 'serve');
    const followed = allLines(driver.logs(ONE, { tail: 0, follow: true, signal: never() }));
    await harness.during(driver.stop(ONE, stopOptions()));
    expect(await harness.during(followed)).toEqual([]);
  });

  it('knows no lines of a replica that never was', async () => {
    const { driver } = fixture;
    expect(await driver.tail(identityOf('never-1'), 10)).toEqual([]);
    const lines = driver.logs(identityOf('never-1'), { tail: 10, follow: true, signal: never() });
    expect(await allLines(lines)).toEqual([]);
  });
}

async function launchStarted({ driver, harness }: Fixture, program: Program): Promise<void> {
  await driver.launch(await harness.spec(program), ONE);
  await harness.until(async () => (await driver.tail(ONE, 1))[0] === 'started');
}
