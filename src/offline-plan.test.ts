import { describe, expect, it } from 'vitest';
import type { ModelShape } from './core/memory/model-shape.ts';
import type { PlanReport } from './core/memory/plan-report.ts';
import { planOffline } from './offline-plan.ts';
import type { Probe, ProbeReading } from './probes/probe.ts';
import { GIB } from './units.ts';
import { configOf } from '../test/support/config-of.ts';
import { createTestPlatform, type TestPlatform } from '../test/support/test-platform.ts';

const YAML = `
server: { state_dir: /state }
models:
  eight: { repo: org/eight, max_model_len: 8192, max_num_seqs: 16, driver: process }
  declared: { repo: org/declared, memory: 10GiB, driver: process }
`;

/** 32 layers, 8 KV heads of 128, bf16: 128 KiB per token. */
const SHAPE: ModelShape = {
  weightBytes: 16 * GIB,
  kv: [{ kind: 'full', layers: 32, kvHeads: 8, keySize: 128, valueSize: 128 }],
  kvElementBytes: 2,
  nativeLength: 131_072,
  attentionHeads: 32,
  notes: ['Weights: 4 files in the cache.'],
};

class FixedProbe implements Probe {
  readonly kind = 'nvidia-smi';
  readonly observes = true;
  readonly detail = 'finds no GPUs: nvidia-smi is not installed';
  closed = false;
  readonly #read: () => ProbeReading;
  constructor(read: () => ProbeReading) {
    this.#read = read;
  }
  async read(): Promise<ProbeReading> {
    return this.#read();
  }
  async close(): Promise<void> {
    this.closed = true;
  }
}

const reading = (...used: readonly number[]): ProbeReading => ({
  devices: used.map((bytes, index) => ({
    id: `GPU-${index}`,
    uuid: `GPU-${index}`,
    name: 'NVIDIA L40S',
    totalBytes: 48 * GIB,
    usedBytes: bytes,
    trouble: null,
  })),
  processes: null,
  driverVersion: '550.1',
});

interface Planned {
  readonly report: PlanReport;
  readonly notes: readonly string[];
  readonly asked: readonly string[];
  readonly platform: TestPlatform;
}

async function plan(
  read: () => ProbeReading,
  options: { readonly only?: string; readonly yaml?: string; readonly platform?: TestPlatform } = {},
): Promise<Planned> {
  const platform = options.platform ?? createTestPlatform({ env: {} });
  const probe = new FixedProbe(read);
  const notes: string[] = [];
  const asked: string[] = [];
  const report = await planOffline(
    {
      config: await configOf(options.yaml ?? YAML),
      platform,
      probe,
      sizeOf: async ({ name }) => {
        asked.push(name);
        return { kind: 'shape', shape: SHAPE };
      },
      note: (text) => notes.push(text),
    },
    options.only,
  );
  expect(probe.closed).toBe(true);
  return { report, notes, asked, platform };
}

describe('a plan without a gateway', () => {
  it('follows from the devices and the files of this machine [item 114]', async () => {
    const { report, notes, asked } = await plan(() => reading(0));
    expect(notes).toEqual([]);
    expect(asked).toEqual(['eight']);
    expect(report.devices['GPU-0']).toMatchObject({
      total_bytes: 48 * GIB,
      free_bytes: Math.floor(0.9 * 48 * GIB),
      state: 'ok',
    });
    const total = (16 * GIB + 32 * 2 * 8 * 128 * 2 * 8192 * 16) * 1.1 + GIB;
    expect(report.models['eight']).toMatchObject({
      fits: true,
      basis: 'estimate',
      devices: ['GPU-0'],
      need: { weights_bytes: 16 * GIB, kv_bytes: 16 * GIB, total_bytes: Math.ceil(total) },
      notes: SHAPE.notes,
    });
    expect(report.models['declared']).toMatchObject({ fits: true, basis: 'declared' });
  });

  it('takes what is in use for the memory of others', async () => {
    const { report } = await plan(() => reading(40 * GIB), { only: 'eight' });
    expect(Object.keys(report.models)).toEqual(['eight']);
    expect(report.devices['GPU-0']).toMatchObject({ foreign_bytes: 40 * GIB });
    expect(report.models['eight']).toMatchObject({ fits: false, outcome: 'refused' });
    expect(report.models['eight']?.reason).toContain('Held by processes outside the gateway (40GiB)');
  });

  it('says when nothing can be read, and plans as a gateway would then', async () => {
    const failing = await plan(() => {
      throw new Error('nvidia-smi does not answer');
    });
    expect(failing.notes[0]).toMatch(/^This machine cannot read GPUs: nvidia-smi does not answer\. To plan/);
    expect(failing.report.devices).toMatchObject({ gpus: { state: 'unmeasured' } });
    const empty = await plan(() => reading());
    expect(empty.notes[0]).toContain(
      'finds no GPUs: nvidia-smi is not installed. Without GPUs no memory is counted, and every model starts as soon as it is asked for.',
    );
    expect(empty.report.devices).toEqual({});
    const pools = `${YAML.replaceAll('driver: process', 'driver: process, pool: fast')}pools: { fast: [GPU-0] }\n`;
    expect((await plan(() => reading(), { yaml: pools })).report.devices).toMatchObject({
      gpus: { state: 'unmeasured' },
    });
  });

  it('refuses what the engine of its image cannot load, as a gateway does [item 137]', async () => {
    const yaml = `${YAML}  file: { repo: org/name-GGUF:Q8_0, driver: docker, image: "vllm/vllm-openai:v0.30.1" }\n`;
    const { report } = await plan(() => reading(0), { yaml, only: 'file' });
    expect(report.models['file']?.fits).toBe(false);
    expect(report.models['file']?.reason).toContain('vllm-gguf-plugin');
  });

  it('takes GPUs whose memory cannot be read for what they are, as a gateway does', async () => {
    const blind = (): ProbeReading => ({
      ...reading(),
      devices: [{ id: 'GPU-0', uuid: 'GPU-0', name: 'GB10', totalBytes: 0, usedBytes: null, trouble: 'it says [N/A]' }],
    });
    const { report, notes } = await plan(blind);
    expect(notes.join()).toMatch(/cannot read GPUs: GPU-0: it says \[N\/A\]/);
    expect(Object.keys(report.devices)).toEqual(['gpus']);
  });

  it('names GPUs that the configuration has and the machine has not', async () => {
    const pools = `${YAML.replaceAll('driver: process', 'driver: process, pool: fast')}pools: { fast: [GPU-9] }\n`;
    const { notes } = await plan(() => reading(0), { yaml: pools });
    expect(notes).toEqual([expect.stringMatching(/GPU-9 \(pool 'fast'\).*It has: GPU-0/)]);
  });

  it('reads what was learned, and changes nothing on disk, damaged or not', async () => {
    const platform = createTestPlatform({ env: {} });
    await platform.files.writeAtomic('/state/footprints.json', 'not json');
    const { notes } = await plan(() => reading(0), { platform });
    expect(notes).toHaveLength(1);
    expect(await platform.files.readText('/state/footprints.json')).toBe('not json');
    expect(await platform.files.list('/state')).toEqual(['footprints.json']);
  });
});
