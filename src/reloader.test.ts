import { describe, expect, it } from 'vitest';
import { configOf } from '../test/support/config-of.ts';
import { VirtualClock } from '../test/support/virtual-clock.ts';
import type { Config, ConfigProblem } from './config/config.ts';
import type { ReloadTrigger } from './config/reload-report.ts';
import type { Decision } from './core/effects.ts';
import { Reloader, type ConfigLoader } from './reloader.ts';
import { createTelemetry } from './telemetry/create-telemetry.ts';

const yaml = (description: string): string =>
  `devices: { probe: none }\nmodels: { far: { repo: far, url: "http://10.0.0.1/v1", description: ${description} } }`;
const BROKEN: ConfigProblem = {
  severity: 'error',
  source: '/etc/gateway.yaml',
  line: 3,
  column: 1,
  path: 'models',
  code: 'no_models',
  message: 'is missing',
};

type Loaded = Awaited<ReturnType<ConfigLoader>>;
const good = (config: Config): Loaded => ({ config, problems: [], files: ['/etc/gateway.yaml'] });
const broken = (...problems: readonly ConfigProblem[]): Loaded => ({ config: null, problems, files: [] });

/** A reloader whose files a test writes by `next`. */
async function bench() {
  const first = await configOf(yaml('first'));
  const clock = new VirtualClock();
  const lines: string[] = [];
  const telemetry = createTelemetry({
    ...({ level: 'debug', format: 'json', clock, isModel: () => true, processMetrics: false } as const),
    output: { write: (line) => lines.push(line) },
  });
  const decisions: Decision[] = [];
  const applied: Config[] = [];
  const state = {
    next: async (): Promise<Loaded> => good(first),
    loads: 0,
    ending: false,
    refusal: null as string | null,
  };
  const reloader = new Reloader({
    config: first,
    load: () => {
      state.loads += 1;
      return state.next();
    },
    identity: (_, model) => model.repo,
    ending: () => state.ending,
    refuse: () => state.refusal,
    apply: (next, _, tell) => {
      applied.push(next);
      tell();
    },
    looked: () => undefined,
    decided: (decision) => decisions.push(decision),
    telemetry,
    clock,
  });
  const kinds = (): readonly string[] => decisions.map(({ kind }) => kind);
  const logged = (level: string): number => lines.filter((line) => line.includes(`"level":"${level}"`)).length;
  const counted = async (result: string): Promise<boolean> =>
    (await telemetry.renderMetrics()).text.includes(`config_reloads_total{result="${result}"} 1`);
  return { first, clock, telemetry, reloader, state, decisions, applied, kinds, logged, counted };
}

describe('a reload', () => {
  it('of what is there already changes and tells nothing, and is counted when somebody asked', async () => {
    const { reloader, applied, kinds, logged, counted } = await bench();
    expect(await reloader.reload('file', false)).toMatchObject({ result: 'unchanged', version: 1 });
    expect([applied, kinds(), logged('info'), await counted('unchanged')]).toEqual([[], [], 0, false]);
    expect(await reloader.reload('signal', false)).toMatchObject({ result: 'unchanged', version: 1 });
    expect([applied, kinds(), logged('info'), await counted('unchanged')]).toEqual([[], [], 1, true]);
  });

  it('is begun once for all who ask while another one is under way', async () => {
    const { reloader, state, first } = await bench();
    const gates: (() => void)[] = [];
    state.next = () => new Promise((resolve) => gates.push(() => resolve(good(first))));
    const running = reloader.reload('api', false);
    await expect.poll(() => gates.length).toBe(1);
    const waiting = [reloader.reload('api', false), reloader.reload('api', false), reloader.reload('api', true)];
    gates[0]?.();
    await running;
    await expect.poll(() => gates.length).toBe(2);
    gates[1]?.();
    await expect.poll(() => gates.length).toBe(3);
    gates[2]?.();
    await Promise.all(waiting);
    expect(state.loads).toBe(3);
  });

  it('goes on with the next one when one failed for a fault of ours, and has changed nothing', async () => {
    const { reloader, state, first, applied } = await bench();
    state.next = () => Promise.reject(new Error('a bug'));
    await expect(reloader.reload('api', false)).rejects.toThrow('a bug');
    state.next = async () => good(first);
    expect(await reloader.reload('api', false)).toMatchObject({ result: 'unchanged' });
    expect(applied).toEqual([]);
  });

  it('that cannot be used is told once for the same file, again when asked, and forgotten when the file is good again', async () => {
    const { reloader, state, first, clock, kinds, logged, applied } = await bench();
    state.next = async () => broken(BROKEN);
    expect(await reloader.reload('file', false)).toMatchObject({ result: 'rejected', version: 1, problems: [BROKEN] });
    await reloader.reload('file', false);
    expect([kinds(), logged('error')]).toEqual([['config.rejected'], 1]);
    expect(reloader.problems).toEqual([BROKEN]);
    expect(reloader.inForce.rejected?.at).toBe(clock.wall());
    await reloader.reload('signal', false);
    state.next = async () => broken({ ...BROKEN, line: 4 });
    await reloader.reload('file', false);
    expect(logged('error')).toBe(3);
    state.next = async () => good(first);
    expect(await reloader.reload('file', false)).toMatchObject({ result: 'unchanged' });
    expect([reloader.problems, reloader.inForce.rejected, logged('info')]).toEqual([[], null, 1]);
    expect(applied).toEqual([]);
  });

  it('in a dry run leaves no trace, whatever it finds', async () => {
    const { reloader, state, kinds, logged, applied } = await bench();
    const next = await configOf(yaml('second'));
    state.next = async () => good(next);
    expect(await reloader.reload('api', true)).toMatchObject({ result: 'valid', version: 1, diff: { keep: ['far'] } });
    state.next = async () => broken(BROKEN);
    expect(await reloader.reload('api', true)).toMatchObject({ result: 'rejected' });
    expect([reloader.inForce.rejected, kinds(), applied, logged('error')]).toEqual([null, [], [], 0]);
  });

  it('is refused by the machine as by the file', async () => {
    const { reloader, state, applied } = await bench();
    const next = await configOf(yaml('second'));
    state.next = async () => good(next);
    state.refusal = 'This machine has no such GPU: gpu-7.';
    expect(await reloader.reload('api', false)).toMatchObject({
      result: 'rejected',
      problems: [{ code: 'unknown_device', message: state.refusal }],
    });
    expect(applied).toEqual([]);
  });

  it('that finds the gateway ending when it has loaded is given up', async () => {
    const { reloader, state, applied } = await bench();
    const next = await configOf(yaml('second'));
    state.next = async () => {
      state.ending = true;
      return good(next);
    };
    await expect(reloader.reload('file', false)).rejects.toMatchObject({ error: { code: 'shutting_down' } });
    expect(applied).toEqual([]);
  });

  it.each<readonly [ReloadTrigger, string]>([
    ['file', 'a file changed'],
    ['signal', 'SIGHUP'],
    ['api', 'over the API'],
  ])('tells who asked: %s', async (trigger, words) => {
    const { reloader, state, decisions, applied, counted } = await bench();
    const next = await configOf(yaml('second'));
    state.next = async () => good(next);
    expect(await reloader.reload(trigger, false)).toMatchObject({ result: 'applied', version: 2 });
    expect(decisions).toMatchObject([
      { kind: 'config.reloaded', detail: { version: 2, keep: 1, changed: 'models.far.description' } },
    ]);
    expect(decisions[0]?.reason).toContain(words);
    expect([applied, reloader.inForce.config, await counted('applied')]).toEqual([[next], next, true]);
  });
});
