import { afterEach, describe, expect, it } from 'vitest';
import { planAnswer } from '../admin/contract.ts';
import { CliBench } from '../../test/support/cli-bench.ts';
import { closeServers, connected } from '../../test/support/connected-cli.ts';
import { PLAN } from '../../test/support/plan-report.ts';

afterEach(closeServers);

const YAML = `
drivers: { default: process }
devices: { probe: static, list: [{ id: gpu-0, memory: 24GiB }] }
models: { llama: { repo: org/llama, memory: 20GiB, aliases: [gpt] }, tiny: { repo: org/tiny, memory: 2GiB } }
`;

async function offline(): Promise<CliBench> {
  const cli = new CliBench();
  await cli.platform.files.writeAtomic('/srv/my.yaml', YAML);
  return cli;
}

describe('plan of a running gateway', () => {
  it('says for each model where it would go, what would leave and what is missing [item 114]', async () => {
    const { cli, admin } = await connected();
    admin.control.report = PLAN;
    expect(await cli.run('plan')).toBe(0);
    const lines = cli.out.text.split('\n').map((line) => line.trimEnd());
    expect(lines.slice(0, 4)).toEqual([
      'MODEL            PLAN    NEEDS    AS         DEVICES  LEAVES   MISSING',
      'llama            placed  20GiB    measured   gpu-0',
      'Qwen/Qwen2.5-7B  fits    18.6GiB  estimated  gpu-0    llama-1',
      'giant            never   80GiB    declared                     58.4GiB',
    ]);
    expect(lines).toContain("Model 'Qwen/Qwen2.5-7B' gets 18.6GiB on gpu-0 as soon as llama-1 has left.");
    expect(lines).toContain('gpu-0   ok     24GiB  21.6GiB  512MiB  20GiB     1.6GiB  llama');
    expect(cli.err.text).toBe('');
  });

  it('tells of one model the parts of its need and where they are from', async () => {
    const { cli, admin } = await connected();
    admin.control.report = PLAN;
    expect(await cli.run('plan', '--model', 'Qwen/Qwen2.5-7B')).toBe(0);
    expect(cli.out.text).not.toContain('giant');
    expect(cli.out.text).toContain(
      'On each device 18.6GiB, while it starts 19GiB: weights 14GiB, KV cache 2GiB, activations 1.6GiB, overhead 1GiB.',
    );
    expect(cli.out.text).toContain('Weights: 4 files in the cache.');
  });

  it('--json prints exactly one document, with the names of the interface', async () => {
    const { cli, admin } = await connected();
    admin.control.report = PLAN;
    expect(await cli.run('plan', '--json')).toBe(0);
    const document = JSON.parse(cli.out.text) as unknown;
    expect(planAnswer.parse(document)).toEqual(PLAN);
    expect(cli.out.text.trimEnd()).not.toContain('\n');
    const model = (document as { models: Record<string, object> }).models['Qwen/Qwen2.5-7B'] ?? {};
    for (const field of ['fits', 'devices', 'need', 'basis', 'evicts', 'missing_bytes', 'holders', 'reason']) {
      expect(model, field).toHaveProperty(field);
    }
    for (const field of ['weights', 'kv', 'activation', 'overhead', 'total']) {
      expect(model, field).toHaveProperty(['need', `${field}_bytes`]);
    }
  });

  it('says that models which each fit were planned one by one', async () => {
    const { cli, admin } = await connected();
    admin.control.report = PLAN;
    await cli.run('plan');
    expect(cli.out.text).not.toContain('by itself');
    const fits = PLAN.models['Qwen/Qwen2.5-7B'];
    if (!fits) throw new Error('no such model');
    admin.control.report = { ...PLAN, models: { one: fits, two: fits } };
    await cli.run('plan');
    expect(cli.out.text).toContain('Each model is planned by itself, as if only it were asked for now.');
  });

  it('shows no bytes where none can be read', async () => {
    const { cli, admin } = await connected();
    const [model, gpu] = [PLAN.models['Qwen/Qwen2.5-7B'], PLAN.devices['gpu-0']];
    if (!model || !gpu) throw new Error('no such model or device');
    admin.control.report = { ...PLAN, models: { llama: model }, devices: { 'gpu-0': { ...gpu, state: 'unmeasured' } } };
    expect(await cli.run('plan', '--model', 'llama')).toBe(0);
    expect(cli.out.text).toMatch(/llama\s+fits\s+all\s/);
    expect(cli.out.text).not.toContain('On each device');
  });

  it('knows aliases, and says which models there are', async () => {
    const { cli, admin } = await connected();
    admin.control.report = PLAN;
    expect(await cli.run('plan', '--model', 'gpt-4o-mini', '--json')).toBe(0);
    expect(Object.keys(planAnswer.parse(JSON.parse(cli.out.text)).models)).toEqual(['llama']);
    expect(await cli.run('plan', '--model', 'nobody')).toBe(1);
    expect(cli.err.text).toContain("No model is called 'nobody'; there are: llama, Qwen/Qwen2.5-7B.");
  });
});

describe('plan --config', () => {
  it('plans on this machine, without a gateway', async () => {
    const cli = await offline();
    cli.plan = PLAN;
    expect(await cli.run('plan', '--config', 'my.yaml', '--model', 'gpt', '--json')).toBe(0);
    expect(cli.planned).toEqual([{ models: ['llama', 'tiny'], only: 'llama' }]);
    expect(JSON.parse(cli.out.text)).toEqual(PLAN);
    expect(cli.err.text).toBe('a note\n');
  });

  it('shows what is wrong with the configuration and ends with 2', async () => {
    const cli = new CliBench();
    await cli.platform.files.writeAtomic('/srv/my.yaml', 'models: {}\n');
    expect(await cli.run('plan', '--config', 'my.yaml')).toBe(2);
    expect(cli.err.text).toContain('my.yaml');
    expect(cli.planned).toEqual([]);
  });

  it('refuses an unknown model, and a second place to ask', async () => {
    const cli = await offline();
    expect(await cli.run('plan', '--config', 'my.yaml', '--model', 'nobody')).toBe(1);
    expect(cli.err.text).toContain("No model is called 'nobody'; there are: llama, tiny.");
    expect(await cli.run('plan', '--config', 'my.yaml', '--url', 'http://127.0.0.1:1')).toBe(2);
  });
});
