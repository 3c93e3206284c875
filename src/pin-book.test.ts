import { expect, it } from 'vitest';
import { createTestPlatform } from '../test/support/test-platform.ts';
import { PinBook } from './pin-book.ts';

it('[F85] pins that could not be written are written once there is room, and the trouble is told once', async () => {
  const { clock } = createTestPlatform();
  const told: string[] = [];
  const written: (readonly string[])[] = [];
  let full = true;
  const log = {
    error: (_fields: object, text: string): void => void told.push(text),
    info: (_fields: object, text: string): void => void told.push(text),
  };
  const writePins = async (models: readonly string[]): Promise<void> => {
    if (full) throw new Error('ENOSPC');
    written.push(models);
  };
  using book = new PinBook({ stateDir: { writePins }, log, clock, pinned: ['absent'] });
  book.save(['one'], ['one', 'two']);
  await clock.advanceAsync(20_000);
  book.save(['one', 'two'], ['one', 'two']);
  await clock.advanceAsync(20_000);
  expect(written).toEqual([]);
  expect(told).toEqual(['pins cannot be written down; it is tried again']);
  full = false;
  await clock.advanceAsync(5_000);
  expect(written).toEqual([['absent', 'one', 'two']]);
  expect(told.at(-1)).toBe('pins are written down again');
  await clock.advanceAsync(60_000);
  expect(written).toHaveLength(1);
  expect(clock.pending).toBe(0);
});

it('a book that is closed tries nothing again', async () => {
  const { clock } = createTestPlatform();
  const log = { error: () => undefined, info: () => undefined };
  const book = new PinBook({
    stateDir: { writePins: () => Promise.reject(new Error('EROFS')) },
    log,
    clock,
    pinned: [],
  });
  book.save(['one'], ['one']);
  await clock.advanceAsync(0);
  book[Symbol.dispose]();
  expect(clock.pending).toBe(0);
});
