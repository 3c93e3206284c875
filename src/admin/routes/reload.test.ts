import { describe, expect, it } from 'vitest';
import { ADMIN_BENCH_YAML, adminBench, type AdminBench } from '../../../test/support/admin-bench.ts';
import type { ConfigProblem } from '../../config/config.ts';
import type { ReloadReport } from '../../config/reload-report.ts';
import { gatewayError, GatewayFailure } from '../../errors.ts';
import { errorAnswer, reloadAnswer, statusAnswer } from '../contract.ts';

const APPLIED: ReloadReport = {
  result: 'applied',
  version: 2,
  diff: {
    keep: ['llama'],
    drainAndRestart: [],
    remove: ['old'],
    add: [],
    changed: [{ path: 'limits.max_turn', from: '1m', to: '2m', rule: 'live' }],
  },
  problems: [],
};

const problem = (severity: ConfigProblem['severity'], path: string): ConfigProblem => ({
  ...{ severity, path, source: 'gateway.yaml', line: 3, column: 5, code: 'unknown_key' },
  message: 'is no key',
});

interface ReloadBench extends AdminBench {
  /** Of every reload: whether it was a dry run. */
  readonly asked: readonly boolean[];
}

async function bench(report: () => Promise<ReloadReport>, yaml?: string): Promise<ReloadBench> {
  const asked: boolean[] = [];
  const reload = (dryRun: boolean): Promise<ReloadReport> => {
    asked.push(dryRun);
    return report();
  };
  return { ...(await adminBench(yaml, {}, undefined, { reload })), asked };
}

const POST = { method: 'POST' };

describe('POST /gateway/reload', () => {
  it('answers what became different', async () => {
    const { ask, asked } = await bench(async () => APPLIED);
    const answer = await ask('/gateway/reload', POST);
    expect(answer.status).toBe(200);
    expect(reloadAnswer.parse(await answer.json())).toEqual({
      result: 'applied',
      dry_run: false,
      version: 2,
      diff: { keep: ['llama'], drain_and_restart: [], remove: ['old'], add: [], changed: APPLIED.diff?.changed },
      problems: [],
    });
    expect(asked).toEqual([false]);
  });

  it.each([
    ['?dry_run=true', true],
    ['?dry_run', true],
    ['?dry_run=1', true],
    ['?dry_run=false', false],
    ['?dry_run=0', false],
  ])('with %s is a dry run: %s', async (query, dryRun) => {
    const { ask, asked } = await bench(async () => APPLIED);
    const answer = reloadAnswer.parse(await (await ask(`/gateway/reload${query}`, POST)).json());
    expect([answer.dry_run, asked]).toEqual([dryRun, [dryRun]]);
  });

  it.each(['yes', 'True', 'no', 'true '])('changes nothing when dry_run=%s says neither', async (text) => {
    const { ask, asked } = await bench(async () => APPLIED);
    const answer = await ask(`/gateway/reload?dry_run=${encodeURIComponent(text)}`, POST);
    expect(answer.status).toBe(400);
    expect(errorAnswer.parse(await answer.json()).error).toMatchObject({ code: 'invalid_body', param: 'dry_run' });
    expect(asked).toEqual([]);
  });

  it.each(['dryrun=true', 'dry-run', 'dry_run=true&dry_run=false', 'DRY_RUN=1'])(
    'changes nothing when %s means to say a dry run',
    async (query) => {
      const { ask, asked } = await bench(async () => APPLIED);
      const answer = await ask(`/gateway/reload?${query}`, POST);
      expect(answer.status).toBe(400);
      expect(errorAnswer.parse(await answer.json()).error.message).toContain('dry_run');
      expect(asked).toEqual([]);
    },
  );

  it('answers 422 with every problem, and the first error in the message', async () => {
    const problems = [problem('warning', 'limits.one'), problem('error', 'limits.two'), problem('info', 'x')];
    const { ask } = await bench(async () => ({ result: 'rejected', version: 1, diff: null, problems }));
    const answer = await ask('/gateway/reload', POST);
    expect(answer.status).toBe(422);
    const body: unknown = await answer.json();
    expect(reloadAnswer.parse(body)).toMatchObject({ result: 'rejected', diff: null, problems });
    const { error } = errorAnswer.parse(body);
    expect(error.code).toBe('config_invalid');
    expect(error.message).toContain('gateway.yaml:3:5: limits.two: is no key (one of 2 problems)');
  });

  it('is refused while the gateway ends, and does not exist where there is nothing to read', async () => {
    const ending = await bench(() => Promise.reject(new GatewayFailure(gatewayError('shutting_down', 'It ends.'))));
    expect((await ending.ask('/gateway/reload', POST)).status).toBe(503);
    expect((await (await adminBench()).ask('/gateway/reload', POST)).status).toBe(404);
  });

  it('is for administrators alone, and for no page of another site', async () => {
    const keys =
      '[{ id: app, key: sk-app }, { id: meter, key: sk-meter, roles: [metrics] }, { id: ops, key: sk-ops, roles: [admin] }]';
    const keyed = await bench(async () => APPLIED, `${ADMIN_BENCH_YAML}\nauth: { keys: ${keys} }`);
    const statusWith = async (key: string): Promise<number> =>
      (await keyed.ask('/gateway/reload', { ...POST, headers: { authorization: `Bearer ${key}` } })).status;
    expect([await statusWith(''), await statusWith('sk-app'), await statusWith('sk-meter')]).toEqual([401, 403, 403]);
    expect(keyed.asked).toEqual([]);
    expect(await statusWith('sk-ops')).toBe(200);
    const open = await bench(async () => APPLIED);
    const headers = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
    expect((await open.ask('/gateway/reload', { ...POST, headers })).status).toBe(403);
    expect(
      (await open.ask('/gateway/reload', POST, { remoteAddress: '10.1.1.1', loopbackListener: false })).status,
    ).toBe(403);
    expect((await open.ask('/gateway/reload')).status).toBe(405);
    expect(open.asked).toEqual([]);
  });
});

describe('GET /gateway/status', () => {
  it('tells which configuration is in force, and what was not taken', async () => {
    const rejected = { at: 2_000, problems: [problem('error', 'limits.two')] };
    const { config } = await adminBench();
    const inForce = { config, version: 3, loadedAt: 1_000, rejected };
    const { ask } = await adminBench(undefined, {}, undefined, { inForce: () => inForce });
    const status = statusAnswer.parse(await (await ask('/gateway/status')).json());
    expect(status.config).toMatchObject({
      version: 3,
      loaded_at: '1970-01-01T00:00:01.000Z',
      rejected_at: '1970-01-01T00:00:02.000Z',
      problems: [...config.problems, ...rejected.problems],
    });
  });
});
