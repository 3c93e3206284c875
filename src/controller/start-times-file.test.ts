import { describe, expect, it } from 'vitest';
import { silentLog } from '../../test/support/scripted-fleet.ts';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import type { StartTimes } from '../core/lifecycle/start-times.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { StartTimesFile } from './start-times-file.ts';

const PATH = '/data/start_times.json';

const times = (model: string, over: Partial<StartTimes> = {}): StartTimes => ({
  model,
  signature: { specHash: `spec-${model}`, image: null, deviceClass: 'X, 24576 MiB', tensorParallel: 1 },
  phases: [
    { phase: 'launch', lasted: 12.5 },
    { phase: 'load', lasted: 40_000 },
  ],
  ...over,
});

interface Bench {
  readonly platform: TestPlatform;
  readonly warnings: string[];
  open(): StartTimesFile;
}

function bench(): Bench {
  const platform = createTestPlatform();
  const warnings: string[] = [];
  const log: Logger = {
    ...silentLog,
    warn: (_fields, message) => warnings.push(message),
    error: (_fields, message) => warnings.push(message),
  };
  return { platform, warnings, open: () => new StartTimesFile({ files: platform.files, log, folder: '/data' }) };
}

describe('the file of start times', () => {
  it('brings back what was learned, the newest of the same start last', async () => {
    const { open, warnings } = bench();
    const file = open();
    expect(await file.load()).toEqual([]);
    const other = times('a', { signature: { ...times('a').signature, image: 'sha256:1' } });
    const newer = times('a', { phases: [{ phase: 'load', lasted: 1 }] });
    for (const one of [times('a'), other, newer]) file.learned(one);
    await file.written;
    expect(await open().load()).toEqual([other, newer]);
    expect(warnings).toEqual([]);
  });

  it('keeps a thousand, and forgets the oldest', async () => {
    const { platform, open } = bench();
    const starts = Array.from({ length: 1_005 }, (_, index) => times(`model-${index}`));
    await platform.files.writeAtomic(PATH, JSON.stringify({ version: 1, starts }));
    const file = open();
    expect((await file.load())[0]?.model).toBe('model-5');
    file.learned(times('newest'));
    await file.written;
    const kept = await open().load();
    expect([kept.length, kept[0]?.model, kept.at(-1)?.model]).toEqual([1_000, 'model-6', 'newest']);
  });

  it.each([
    ['half a file', '{"version":1,"starts":[{"mo'],
    ['a list', '[]'],
    ['another version', '{"version":2,"starts":[]}'],
    ['nothing', ''],
  ])('drops %s with one warning, and writes over it with the next start', async (_what, text) => {
    const { platform, warnings, open } = bench();
    await platform.files.writeAtomic(PATH, text);
    const file = open();
    expect(await file.load()).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining('timed anew')]);
    file.learned(times('a'));
    await file.written;
    expect(await open().load()).toEqual([times('a')]);
  });

  it('drops damaged entries with a warning, and keeps the others', async () => {
    const { platform, warnings, open } = bench();
    const { signature, phases } = times('bad');
    const damaged: readonly unknown[] = [
      null,
      'text',
      { model: '', signature, phases },
      { model: 'bad', signature: { ...signature, tensorParallel: 0 }, phases },
      { model: 'bad', signature: { ...signature, specHash: 7 }, phases },
      { model: 'bad', signature, phases: [] },
      { model: 'bad', signature, phases: [{ phase: 'load\r\ndata: x', lasted: 1 }] },
      { model: 'bad', signature, phases: [{ phase: 'load', lasted: -1 }] },
      { model: 'bad', signature, phases: [{ phase: 'load', lasted: 1e12 }] },
      { model: 'bad', signature, phases: [...phases, null] },
      { model: 'bad', signature, phases: Array.from({ length: 33 }, () => phases[0]) },
      { model: 'x'.repeat(2_000), signature, phases },
    ];
    await platform.files.writeAtomic(PATH, JSON.stringify({ version: 1, starts: [...damaged, times('a')] }));
    expect(await open().load()).toEqual([times('a')]);
    expect(warnings).toEqual([expect.stringContaining('damaged start times')]);
  });

  it('is not needed: a folder in its place, a file that cannot be read, a disk that is full', async () => {
    const { platform, warnings, open } = bench();
    await platform.files.makeFolder(PATH);
    expect(await open().load()).toEqual([]);
    platform.files.failWrites = 'ENOSPC';
    const file = open();
    file.learned(times('a'));
    await file.written;
    await Promise.resolve();
    expect(warnings).toEqual([
      'this is no file of start times; starts are timed anew',
      'learned start times cannot be kept',
    ]);
  });
});
