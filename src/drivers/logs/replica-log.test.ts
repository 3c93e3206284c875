import { beforeEach, describe, expect, it } from 'vitest';
import { createTestPlatform, type TestPlatform } from '../../../test/support/test-platform.ts';
import { settle } from '../../../test/support/virtual-clock.ts';
import { ReplicaLog } from './replica-log.ts';

const PATH = '/state/logs/a.log';
let platform: TestPlatform;
let log: ReplicaLog;

beforeEach(() => {
  platform = createTestPlatform();
  log = new ReplicaLog(platform.files, platform.clock, PATH);
});

const write = (from: number, to: number): void => {
  for (let index = from; index < to; index += 1) platform.files.append(PATH, `line ${index}\n`);
};
const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `line ${from + index}`);

async function collect(lines: AsyncIterable<string>, into: string[]): Promise<void> {
  for await (const line of lines) into.push(line);
}

describe('the log of a replica', () => {
  it('gives the last lines over a rotation as if there were none', async () => {
    write(0, 50);
    await log.rotateIfLarge(1);
    write(50, 60);
    expect(await log.tail(15)).toEqual(numbers(45, 60));
    expect(await log.tail(1_000)).toEqual(numbers(0, 60));
    expect(await log.tail(10)).toEqual(numbers(50, 60));
    expect(await log.tail(0)).toEqual([]);
  });

  it('reads tails that are longer than a block, with an unfinished last line', async () => {
    write(0, 20_000);
    platform.files.append(PATH, 'unfinished');
    const lines = await log.tail(12_000);
    expect(lines).toEqual([...numbers(8_001, 20_000), 'unfinished']);
  });

  it('keeps one old file, so that all of it is bounded', async () => {
    write(0, 50);
    await log.rotateIfLarge(1);
    write(50, 100);
    await log.rotateIfLarge(1);
    write(100, 101);
    expect(await log.tail(1_000)).toEqual(numbers(50, 101));
    expect(await platform.files.list('/state/logs')).toEqual(['a.log', 'a.log.1']);
  });

  it('counts its size over rotations, and over a restart of the gateway', async () => {
    write(0, 10);
    await log.rotateIfLarge(1);
    write(10, 20);
    expect(await log.size()).toBe(150);
    const again = new ReplicaLog(platform.files, platform.clock, PATH);
    expect(await again.size()).toBe(150);
    await log.rotateIfLarge(1_000_000);
    expect(await log.size()).toBe(150);
  });

  it('is followed over rotations without a gap', async () => {
    let live = true;
    const lines: string[] = [];
    write(0, 3);
    const options = { tail: 2, follow: true, signal: new AbortController().signal, isLive: () => live };
    const followed = collect(log.follow(options), lines);
    await platform.clock.runUntil(() => lines.length === 2);
    for (let round = 0; round < 5; round += 1) {
      write(3 + round * 10, 8 + round * 10);
      await log.rotateIfLarge(1);
      write(8 + round * 10, 13 + round * 10);
      await platform.clock.advanceAsync(200);
    }
    await platform.clock.runUntil(() => lines.length === 52);
    live = false;
    await platform.clock.advanceAsync(400);
    await followed;
    expect(lines).toEqual(numbers(1, 53));
  });

  it('hands the unfinished line of a dead engine on', async () => {
    let live = true;
    const lines: string[] = [];
    platform.files.append(PATH, 'whole\nhalf');
    const options = { tail: 10, follow: true, signal: new AbortController().signal, isLive: () => live };
    const followed = collect(log.follow(options), lines);
    await settle();
    expect(lines).toEqual(['whole']);
    live = false;
    await platform.clock.advanceAsync(400);
    await followed;
    expect(lines).toEqual(['whole', 'half']);
  });

  it('leaves no timer behind when a follower leaves', async () => {
    const controller = new AbortController();
    const options = { tail: 0, follow: true, signal: controller.signal, isLive: () => true };
    const followed = collect(log.follow(options), []);
    await settle();
    controller.abort();
    await followed;
    expect(platform.clock.pending).toBe(0);
  });
});
