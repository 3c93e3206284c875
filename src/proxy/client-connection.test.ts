import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../test/support/virtual-clock.ts';
import { MINUTE, SECOND } from '../units.ts';
import { ClientConnection } from './client-connection.ts';
import { MAX_PIPELINED } from './limits.ts';

/** A line to a client that takes what it is sent when the test says so. */
class SlowLine extends Duplex {
  taken: () => void = () => undefined;

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    this.taken = done;
  }
}

function connected(clock = new VirtualClock()): { line: SlowLine; connection: ClientConnection } {
  const line = new SlowLine();
  return { line, connection: new ClientConnection(line as unknown as Socket, clock) };
}

describe('a connection whose last answer is written', () => {
  it('is overdue when it has been idle for longer than connections are kept', () => {
    const { connection } = connected();
    expect(connection.isOverdue(70 * SECOND)).toBe(false);
    expect(connection.isOverdue(80 * SECOND)).toBe(true);
  });

  it('is not while its client still reads that answer, and is when the client has not taken a byte for ten minutes', () => {
    const { line, connection } = connected();
    line.write('the end of an answer, ');
    line.write('and a little more');
    for (let now = 0; now <= 5 * MINUTE; now += SECOND) expect(connection.isOverdue(now)).toBe(false);
    line.taken();
    expect(connection.isOverdue(5 * MINUTE)).toBe(false);
    for (let now = 5 * MINUTE; now <= 15 * MINUTE; now += SECOND) expect(connection.isOverdue(now)).toBe(false);
    expect(connection.isOverdue(15 * MINUTE + SECOND)).toBe(true);
  });

  it('is idle from when the client has taken the last of it', () => {
    const { line, connection } = connected();
    line.write('the end of an answer');
    expect(connection.isOverdue(5 * MINUTE)).toBe(false);
    line.taken();
    expect(connection.isOverdue(6 * MINUTE)).toBe(false);
    expect(connection.isOverdue(6 * MINUTE + 70 * SECOND)).toBe(false);
    expect(connection.isOverdue(6 * MINUTE + 80 * SECOND)).toBe(true);
  });
});

it('that is read for a moment after its end leaves no timer when it is closed before', async () => {
  const clock = new VirtualClock();
  const { line, connection } = connected(clock);
  connection.lingerAfterEnd();
  expect(clock.pending).toBe(1);
  const closed = new Promise((resolve) => line.on('close', resolve));
  line.destroy();
  await closed;
  expect(clock.pending).toBe(0);
});

/** What is written is not read until the test says so. */
async function unread(line: SlowLine): Promise<void> {
  line.write(Buffer.alloc(line.writableHighWaterMark));
  await new Promise((resolve) => setImmediate(resolve));
}

describe('requests whose client does not read', () => {
  const whole = (): boolean => true;

  it('wait until it has read what is written, and then run one after the other, each once', async () => {
    const { line, connection } = connected();
    await unread(line);
    const ran: number[] = [];
    for (const nth of [1, 2, 3]) {
      const run = (): void => {
        ran.push(nth);
        line.write(Buffer.alloc(line.writableHighWaterMark));
        connection.vacate();
      };
      connection.take(run, whole);
    }
    for (const expected of [[], [1], [1, 2], [1, 2, 3]]) {
      expect(ran).toEqual(expected);
      expect(line.listenerCount('drain')).toBeLessThanOrEqual(1);
      line.taken();
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('are not taken when as many of them wait as may', async () => {
    const { line, connection } = connected();
    await unread(line);
    for (let count = 0; count < MAX_PIPELINED; count += 1) expect(connection.take(() => undefined, whole)).toBe(true);
    expect(connection.take(() => undefined, whole)).toBe(false);
  });

  it('do not keep the connection for ever', async () => {
    const { line, connection } = connected();
    await unread(line);
    connection.take(() => undefined, whole);
    expect(connection.isOverdue(SECOND)).toBe(false);
    expect(connection.isOverdue(10 * MINUTE)).toBe(false);
    expect(connection.isOverdue(10 * MINUTE + 2 * SECOND)).toBe(true);
  });
});
