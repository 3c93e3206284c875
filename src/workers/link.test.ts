/** When what is said goes out, and with what: every write wakes the other process. */
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import { Link, SOON } from './link.ts';

const LATER = 10;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function linkWithWrites() {
  const { clock } = createTestPlatform();
  const stream = new PassThrough();
  const writes: string[] = [];
  const write = stream.write.bind(stream);
  stream.write = (chunk: string) => {
    writes.push(chunk.replaceAll('"', '').replaceAll('\n', ' ').trim());
    return write(chunk);
  };
  const link = new Link<string, string>(
    stream,
    { after: clock.after.bind(clock), afterReads: setImmediate },
    () => undefined,
  );
  return { clock, link, writes };
}

it('what is told goes with what is said next, in order, in one write', async () => {
  const { clock, link, writes } = linkWithWrites();
  link.tell('record');
  link.tell('release', SOON);
  link.say('acquire');
  link.say('acquire too');
  await turn();
  expect(writes).toEqual(['record release acquire acquire too']);
  // What was armed for it makes no write of what is told since.
  link.tell('next');
  clock.advance(LATER - 1);
  expect(writes).toHaveLength(1);
  clock.advance(1);
  expect(writes).toEqual(['record release acquire acquire too', 'next']);
});

it('what may wait for a moment only takes what may wait longer with it', () => {
  const { clock, link, writes } = linkWithWrites();
  link.tell('record');
  clock.advance(LATER / 2);
  link.tell('release', SOON);
  link.tell('record too');
  clock.advance(SOON);
  expect(writes).toEqual(['record release record too']);
  clock.advance(LATER);
  expect(writes).toHaveLength(1);
});
