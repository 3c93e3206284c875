import { describe, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import type { Survey } from '../doctor/survey.ts';
import { GIB } from '../units.ts';
import type { BenchReport } from '../bench/report.ts';
import { CliBench } from '../../test/support/cli-bench.ts';
import { starterConfig } from './starter-config.ts';

const FILE = '/srv/gateway.yaml';
const YAML = 'drivers: { default: process }\nmodels: { m: { repo: org/m } }\n';

describe('doctor', () => {
  const FINDINGS = [
    { check: 'config', state: 'ok', message: 'All is well.', remedy: null },
    { check: 'docker', state: 'problem', message: 'There is no socket.\u001b[2J', remedy: 'Start Docker.' },
    { check: 'hub', state: 'unknown', message: 'Nobody answers.', remedy: null },
  ] as const;

  it('says of each what it is and what to do, and ends with 1 on a problem', async () => {
    const cli = new CliBench();
    cli.findings = FINDINGS;
    expect(await cli.run('doctor')).toBe(1);
    expect(cli.out.text).toBe(
      [
        'ok              config  All is well.',
        'problem         docker  There is no socket. [2J',
        '                        → Start Docker.',
        'could not look  hub     Nobody answers.',
        '',
        '1 problem, 1 could not be looked at',
        '',
      ].join('\n'),
    );
  });

  it('ends with 0 where nothing is wrong, even where something could not be looked at', async () => {
    const cli = new CliBench();
    cli.findings = FINDINGS.filter(({ state }) => state !== 'problem');
    expect(await cli.run('doctor')).toBe(0);
    expect(cli.out.text).toContain('no problem found, 1 could not be looked at');
  });

  it('--json prints exactly one document', async () => {
    const cli = new CliBench();
    cli.findings = FINDINGS;
    expect(await cli.run('doctor', '--json')).toBe(1);
    expect(JSON.parse(cli.out.text)).toEqual({ ok: false, checks: FINDINGS });
    expect(cli.err.text).toBe('');
  });
});

describe('check', () => {
  const WRONG = { source: 'this machine', line: null, column: null, path: 'pools', code: 'no_such_device' };
  it.each([
    ['error', 1],
    ['info', 0],
  ] as const)('tells an %s of this machine and ends with %i', async (severity, code) => {
    const cli = new CliBench();
    await cli.platform.files.writeAtomic(FILE, YAML);
    cli.machineProblems = [{ ...WRONG, severity, message: 'This machine has no such GPU.' }];
    expect(await cli.run('check')).toBe(code);
    expect(cli.err.text).toContain(`${severity}: this machine: pools: This machine has no such GPU.`);
  });

  it('asks nothing of the machine for a configuration that is wrong', async () => {
    const cli = new CliBench();
    await cli.platform.files.writeAtomic(FILE, `${YAML}limits: { max_queue_sise: 1 }\n`);
    cli.machineProblems = [{ ...WRONG, severity: 'error', message: 'no' }];
    expect(await cli.run('check')).toBe(1);
    expect(cli.err.text).not.toContain('this machine');
  });
});

describe('init', () => {
  const EMPTY: Survey = { gpus: [], gpuNote: 'nvidia-smi: no', dockerTrouble: 'No socket.', vllm: null, cached: [] };
  const gpu = (uuid: string | null) => ({ uuid, name: 'NVIDIA L4\nmodels: {}', totalBytes: 24 * GIB });
  const SURVEYS: readonly (readonly [string, Survey])[] = [
    ['an empty machine', EMPTY],
    ['Docker and two GPUs', { ...EMPTY, gpus: [gpu('GPU-1'), gpu('GPU-2')], gpuNote: null, dockerTrouble: null }],
    ['vllm on PATH', { ...EMPTY, gpus: [gpu(null)], vllm: '/opt/my env/bin/vllm' }],
    [
      'cached models',
      {
        ...EMPTY,
        cached: [
          { repo: 'org/Same', weightBytes: 16 * GIB, nativeLength: 2_048 },
          { repo: 'other/same', weightBytes: null, nativeLength: null },
          { repo: 'org/no: yaml', weightBytes: null, nativeLength: null },
        ],
      },
    ],
  ];

  it.each(SURVEYS)('writes for %s what passes check strictly', async (_name, survey) => {
    const cli = new CliBench();
    cli.survey = survey;
    expect(await cli.run('init')).toBe(0);
    expect(cli.out.text).toContain('written: gateway.yaml');
    const { files } = cli.platform;
    const { config, problems } = await loadConfig({ flags: { strict: true }, env: {}, files, cwd: '/srv' });
    expect(problems).toEqual([]);
    expect(config?.drivers.default).toBe(survey.vllm === null ? 'docker' : 'process');
  });

  it('names cached models apart, and keeps within their native length', () => {
    const text = starterConfig(SURVEYS[3]?.[1] ?? EMPTY);
    expect(text).toContain('"same":\n    # 16GiB of weights.\n    repo: "org/Same"\n    max_model_len: 2048');
    expect(text).toContain('"same-2":\n    repo: "other/same"');
    expect(text).not.toContain('no: yaml');
  });

  it('never overwrites, unless told so', async () => {
    const cli = new CliBench();
    await cli.platform.files.writeAtomic(FILE, 'mine');
    expect(await cli.run('init')).toBe(1);
    expect(await cli.platform.files.readText(FILE)).toBe('mine');
    expect(cli.err.text).toContain('gateway.yaml is there already and stays as it is.');
    expect(cli.err.text).toContain('--output');
    expect(await cli.run('init', '--output', 'other.yaml')).toBe(0);
    expect(await cli.platform.files.readText('/srv/other.yaml')).toContain('models:');
    expect(cli.out.text).toContain('doctor --config other.yaml');
    expect(await cli.run('init', '--force')).toBe(0);
    expect(await cli.platform.files.readText(FILE)).toContain('models:');
  });

  it('prints with --output -, and writes nothing', async () => {
    const cli = new CliBench();
    expect(await cli.run('init', '-o', '-')).toBe(0);
    expect(cli.out.text).toContain('models:\n');
    expect(await cli.platform.files.readText(FILE)).toBeUndefined();
  });

  it('says why a file cannot be written', async () => {
    const cli = new CliBench();
    cli.platform.files.failWrites = 'ENOSPC';
    expect(await cli.run('init')).toBe(1);
    expect(cli.err.text).toContain('/srv/gateway.yaml cannot be written (ENOSPC).');
  });
});

describe('bench', () => {
  const target = {
    ...{ requestsPerSecond: 1_000, p50Ms: 0.5, p99Ms: 2, addedP50Ms: 0.2, addedP99Ms: -1 },
    ...{ cpuMsPerRequest: 0.25, streamEventsPerSecond: 20_000, cpuMsPerThousandEvents: 20 },
  };
  const REPORT: BenchReport = {
    ...{ concurrency: 32, streams: 32, faults: 0, seconds: 15 },
    engine: { ...target, addedP50Ms: null, addedP99Ms: null, cpuMsPerRequest: null, cpuMsPerThousandEvents: null },
    relay: target,
    gateway: { ...target, cpuMsPerRequest: 0.5 },
  };

  it('prints the rows side by side, and what they mean', async () => {
    const cli = new CliBench();
    cli.measure = async (note) => {
      note('round 1 of 3');
      return REPORT;
    };
    expect(await cli.run('bench')).toBe(0);
    expect(cli.err.text).toBe('round 1 of 3 …\n');
    expect(cli.out.text).toContain(
      'One core carries about 2000 such requests per second (2.00 × the CPU time of the relay)',
    );
    expect(cli.out.text).toContain('50000 events (tokens) per second (1.00 ×');
    expect(cli.out.text).toMatch(/^vLLM Gateway +1000 +500 µs +2\.00 ms +200 µs +≈ 0 +500 µs/m);
  });

  it('--json prints one document; answers that were not whole end it with 1', async () => {
    const cli = new CliBench();
    cli.measure = async () => ({ ...REPORT, faults: 2 });
    expect(await cli.run('bench', '--json')).toBe(1);
    expect(JSON.parse(cli.out.text)).toMatchObject({
      ...{ concurrency: 32, faults: 2, took_s: 15 },
      targets: { engine: { added_p50_ms: null }, gateway: { cpu_ms_per_request: 0.5 } },
    });
  });

  it('says why nothing was measured, and ends as a signal asks', async () => {
    const failing = new CliBench();
    failing.measure = () => Promise.reject(new Error('The relay was not ready within 10 s.'));
    expect(await failing.run('bench')).toBe(1);
    expect(failing.err.text).toContain('Nothing was measured: The relay was not ready within 10 s.\n');
    const stopped = new CliBench();
    stopped.measure = (_note, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('stopped'))));
    const ended = stopped.run('bench');
    await expect.poll(() => stopped.listens('SIGTERM')).toBe(true);
    stopped.signal('SIGTERM');
    expect(await ended).toBe(143);
    expect(stopped.listens('SIGTERM')).toBe(false);
  });
});
