import { expect, it } from 'vitest';
import type { Driver, ExitReport } from '../../../src/drivers/driver.ts';
import { GIB } from '../../../src/units.ts';
import { allLines, COUNTED, identityOf, never, ONE, stopOptions, TWO, type Fixture } from './harness.ts';

export function restarting(fixture: Fixture): void {
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
      port: harness.portsOfMachine ? spec.port : null,
      endpoint,
      usable: true,
      ageMs: expect.any(Number),
    });
    expect(found?.ageMs).toBeGreaterThanOrEqual(0);
  });

  it('keeps every byte and letter of what it must know', async () => {
    const { driver, harness } = fixture;
    const identity = identityOf('big-1', 4_000_000_000, {
      model: 'Org/"quoted" \\ модель 🦙 {"a":1}',
      specHash: 'f'.repeat(64),
      reservations: new Map([
        ['GPU-6f7d1c3e-0000-4444-8888-0123456789ab', 80 * GIB + 1],
        ['gpu one', 0],
      ]),
    });
    await driver.launch(await harness.spec('serve'), identity);
    const next = await harness.restart();
    const [found] = await next.list();
    expect(found).toMatchObject({ id: 'big-1', generation: 4_000_000_000, model: identity.model });
    expect(found?.specHash).toBe(identity.specHash);
    expect(found?.reservations).toEqual(identity.reservations);
  });

  it('finds after a restart what an earlier gateway launched, adopts it, and sees its exit once [item 73]', async () => {
    const { driver, harness } = fixture;
    const endpoint = await driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    const exits = exitsOf(next);
    expect(await next.list()).toMatchObject([{ id: ONE.id, generation: 1, usable: true, endpoint }]);
    next.adopt(ONE);
    await harness.murder(ONE);
    await harness.until(() => exits.length > 0);
    await harness.during(next.stop(ONE, stopOptions()));
    expect(exits).toMatchObject([{ replica: { id: ONE.id, generation: 1 } }]);
    expect(await next.list()).toEqual([]);
  });

  it('stops what it adopted, and reports that exit once too', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('ignore-term'), ONE);
    const next = await harness.restart();
    const exits = exitsOf(next);
    await next.list();
    next.adopt(ONE);
    await harness.during(next.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(0);
    expect(exits).toHaveLength(1);
  });

  it('takes an adoption that is told twice for one', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    const exits = exitsOf(next);
    await next.list();
    next.adopt(ONE);
    next.adopt(ONE);
    await harness.murder(ONE);
    await harness.until(() => exits.length > 0);
    await harness.during(next.stop(ONE, stopOptions()));
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

  it('finds the same after every restart', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    const look = async (): Promise<ReadonlyMap<string, unknown>> => {
      const found = await (await harness.restart()).list();
      return new Map(found.map(({ id, endpoint }) => [id, endpoint]));
    };
    const before = await look();
    expect(before.size).toBe(2);
    expect(await look()).toEqual(before);
  });

  it('does not list what has ended', async () => {
    const { driver, harness, exits } = fixture;
    await driver.launch(await harness.spec('exit-3'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    await harness.until(() => exits.length === 1);
    expect((await driver.list()).map(({ id }) => id)).toEqual([TWO.id]);
    const next = await harness.restart();
    expect((await next.list()).map(({ id }) => id)).toEqual([TWO.id]);
    expect(() => next.adopt(ONE)).toThrow(ONE.id);
  });

  it('refuses to adopt what it never found', () => {
    expect(() => fixture.driver.adopt(identityOf('never-1'))).toThrow('never-1');
  });

  it('reads and follows the log of what it adopted', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('count-to-100'), ONE);
    await harness.until(async () => (await driver.tail(ONE, 1))[0] === 'line 99');
    const next = await harness.restart();
    await next.list();
    next.adopt(ONE);
    expect(await next.tail(ONE, 2)).toEqual(['line 98', 'line 99']);
    const followed = allLines(next.logs(ONE, { tail: 1_000, follow: true, signal: never() }));
    await harness.murder(ONE);
    expect(await harness.during(followed)).toEqual(COUNTED);
  });

  it('knows the processes of what it adopted', async () => {
    const { driver, harness } = fixture;
    await driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    await next.list();
    next.adopt(ONE);
    const pids = await next.pids(ONE);
    expect(pids.length).toBeGreaterThan(0);
    expect(pids.every((pid) => harness.hasProcess(pid))).toBe(true);
  });

  it('neither lists nor stops what another gateway launched', async () => {
    const { driver, harness } = fixture;
    const other = await harness.stranger();
    await driver.launch(await harness.spec('serve'), ONE);
    expect(await other.list()).toEqual([]);
    await harness.during(other.stop(ONE, stopOptions()));
    expect(await harness.living(ONE)).toBe(1);
  });
}

function exitsOf(driver: Driver): readonly ExitReport[] {
  const exits: ExitReport[] = [];
  driver.watch((exit) => exits.push(exit));
  return exits;
}
