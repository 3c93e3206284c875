import { describe, expect, it } from 'vitest';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import { silentLog } from '../../test/support/scripted-fleet.ts';
import type { Footprint } from '../core/memory/footprint.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { GIB, MIB } from '../units.ts';
import { FootprintFile } from './footprint-file.ts';

const PATH = '/data/footprints.json';

const learned = (model: string, over: Partial<Footprint> = {}): Footprint => ({
  model,
  signature: { specHash: `spec-${model}`, image: 'sha256:1', deviceClass: 'X, 24576 MiB', tensorParallel: 1 },
  steadyBytes: 8 * GIB,
  peakBytes: 9 * GIB,
  utilization: 0.4,
  kvCacheBytes: 3 * GIB,
  kvCacheTokens: 4_096,
  startTime: 12_000,
  measuredAt: 1_767_225_600_000,
  source: 'process',
  ...over,
});

interface Bench {
  readonly platform: TestPlatform;
  readonly warnings: string[];
  open(legacyPath?: string | null): FootprintFile;
}

function bench(): Bench {
  const platform = createTestPlatform();
  const warnings: string[] = [];
  const log: Logger = {
    ...silentLog,
    warn: (_fields, message) => warnings.push(message),
    error: (_fields, message) => warnings.push(message),
  };
  return {
    platform,
    warnings,
    open: (legacyPath = null) => new FootprintFile({ platform, log, folder: '/data', legacyPath }),
  };
}

describe('the file of learned footprints', () => {
  it('brings back what was learned, for models of another run too [item 129]', async () => {
    const { open } = bench();
    const file = open();
    expect(await file.load()).toEqual([]);
    const both = [learned('a'), learned('b', { kvCacheBytes: null, kvCacheTokens: null, utilization: null })];
    for (const footprint of both) file.learned(footprint);
    await file.written;
    expect(await open().load()).toEqual(both);
  });

  it('keeps one per model, class of device and degree: the newest', async () => {
    const { open } = bench();
    const file = open();
    const wide = learned('a', { signature: { ...learned('a').signature, tensorParallel: 2 } });
    const newer = learned('a', { steadyBytes: 7 * GIB, signature: { ...learned('a').signature, specHash: 'changed' } });
    for (const footprint of [learned('a'), wide, newer]) file.learned(footprint);
    await file.written;
    expect(await open().load()).toEqual([wide, newer]);
  });

  it('drops damaged entries with a warning, and keeps the others [item 129]', async () => {
    const { platform, warnings, open } = bench();
    const damaged = [
      null,
      7,
      { ...learned('b'), steadyBytes: 'much' },
      { ...learned('c'), signature: {} },
      { ...learned('d'), steadyBytes: MIB },
    ];
    await platform.files.writeAtomic(PATH, JSON.stringify({ version: 1, footprints: [...damaged, learned('a')] }));
    expect(await open().load()).toEqual([learned('a')]);
    expect(warnings).toEqual([expect.stringContaining('damaged entries')]);
  });

  it.each([
    ['half a file', '{"version": 1, "footprints": [{"mod'],
    ['another text', 'hello'],
    ['a list', '[]'],
    ['a later version', '{"version": 99, "footprints": []}'],
  ])('puts %s aside under a name of its own, and starts anew [item 129]', async (_what, text) => {
    const { platform, warnings, open } = bench();
    await platform.files.writeAtomic(PATH, text);
    const file = open();
    expect(await file.load()).toEqual([]);
    const names = await platform.files.list('/data');
    expect(names).toEqual([expect.stringMatching(/^footprints\.json\.bad-\d+$/)]);
    expect(await platform.files.readText(`/data/${names[0]}`)).toBe(text);
    expect(warnings).toHaveLength(1);
    file.learned(learned('a'));
    await file.written;
    expect(await open().load()).toEqual([learned('a')]);
  });

  it('does not end the gateway when it cannot be written', async () => {
    const { platform, warnings, open } = bench();
    const file = open();
    platform.files.failWrites = 'ENOSPC';
    file.learned(learned('a'));
    await file.written;
    await Promise.resolve();
    expect(warnings).toEqual(['learned footprints cannot be kept']);
    platform.files.failWrites = null;
    file.learned(learned('b'));
    await file.written;
    expect(await open().load()).toEqual([learned('a'), learned('b')]);
  });

  it.each([
    ['footprints.json', null],
    ['named by MEMORY_FOOTPRINT_FILE', '/app/data/memory_footprints.json'],
  ])('a folder in its place (%s) is told with what to do [item 25]', async (_what, legacyPath) => {
    const { platform, warnings, open } = bench();
    const { files } = platform;
    const place = legacyPath ?? PATH;
    const { stat } = files;
    files.stat = async (path) => (path === place ? { kind: 'folder', size: 0, modifiedAt: 0 } : stat.call(files, path));
    expect(await open(legacyPath).load()).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/a folder is where the file .* should be.*mounts/)]);
  });
});

describe('the footprints of the original', () => {
  const LEGACY = {
    'old-number': 8_000,
    'old-record': {
      per_gpu_mib: 6_000,
      effective_tp: 2,
      effective_util: 0.85,
      measured_at: 1_700_000_000,
      signature: {},
    },
    zero: 0,
    broken: { per_gpu_mib: 'many' },
  };

  it('may lie where ours would, as the example of the original has it [item 129]', async () => {
    const { platform, warnings, open } = bench();
    await platform.files.writeAtomic(PATH, JSON.stringify({ plain: 12_000 }));
    const file = open(PATH);
    expect((await file.load()).map(({ model }) => model)).toEqual(['plain']);
    expect(warnings).toEqual([]);
    file.learned(learned('a'));
    await file.written;
    expect((await open(PATH).load()).map(({ model }) => model)).toEqual(['plain', 'a']);
  });

  it('are shown, and never match anything [item 129]', async () => {
    const { platform, open } = bench();
    await platform.files.writeAtomic('/app/data/memory_footprints.json', JSON.stringify(LEGACY));
    const found = await open('/app/data/memory_footprints.json').load();
    expect(found.map(({ model, steadyBytes, signature }) => [model, steadyBytes / MIB, signature])).toEqual([
      ['old-number', 8_000, { specHash: '', image: null, deviceClass: '', tensorParallel: 1 }],
      ['old-record', 6_000, { specHash: '', image: null, deviceClass: '', tensorParallel: 2 }],
    ]);
    expect(found[1]).toMatchObject({ utilization: 0.85, measuredAt: 1_700_000_000_000 });
  });

  it('are found beside ours without a variable, and are read no more once there is an own file', async () => {
    const { platform, open } = bench();
    await platform.files.writeAtomic('/data/memory_footprints.json', JSON.stringify(LEGACY));
    const file = open();
    expect((await file.load()).map(({ model }) => model)).toEqual(['old-number', 'old-record']);
    // Measured here: what the original had seen of it is history.
    file.learned(learned('old-number'));
    await file.written;
    await platform.files.writeAtomic('/data/memory_footprints.json', JSON.stringify({ another: 5_000 }));
    expect((await open().load()).map(({ model }) => model)).toEqual(['old-record', 'old-number']);
  });
});
