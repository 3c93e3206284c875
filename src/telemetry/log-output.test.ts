import { spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { createLogger } from './logger.ts';

/** A pipe that has a reader, who does not read. */
function blockedPipe(): { readonly path: string; readonly descriptor: number; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-fifo-'));
  const path = join(folder, 'out');
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  return {
    path,
    descriptor,
    [Symbol.dispose]: () => {
      closeSync(descriptor);
      closeSync(reader);
      rmSync(folder, { recursive: true });
    },
  };
}

const FILLING = 'x'.repeat(1_000);
/** Some 22 MiB of lines, of which 16 MiB are kept. */
const LINES = 20_000;

it('[F89] lines that nobody reads are kept up to a bound, cost no time, and are counted when somebody reads again', async () => {
  using pipe = blockedPipe();
  const output = { descriptor: pipe.descriptor, isTerminal: false, colour: false };
  const logger = createLogger({ level: 'info', format: 'json', output });
  for (let index = 0; index < LINES; index += 1) logger.log.info({ index, FILLING }, 'line');
  const reader = spawn('cat', [pipe.path]);
  let read = '';
  reader.stdout.setEncoding('utf8').on('data', (piece: string) => {
    read += piece;
  });
  const lost = await eventually('the loss is told', () => /"dropped_lines":(\d+)/.exec(read.slice(-2_000))?.[1]);
  reader.kill();
  const whole = read.split('\n').filter((line) => /^\{"level".*"index":\d+.*"line"\}$/.test(line));
  expect(Number(lost)).toBeGreaterThan(1_000);
  expect(Number(lost) + whole.length).toBe(LINES);
});

it('[F89] the last lines are given up after half a second when nobody reads them', () => {
  using pipe = blockedPipe();
  const output = { descriptor: pipe.descriptor, isTerminal: false, colour: false };
  const logger = createLogger({ level: 'info', format: 'json', output });
  for (let index = 0; index < 1_000; index += 1) logger.log.info({ index, FILLING }, 'line');
  const began = performance.now();
  logger.flush();
  expect(performance.now() - began).toBeLessThan(5_000);
});
