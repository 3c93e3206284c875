import { stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { load } from '../../test/support/load-config.ts';
import { checkReport, effectiveConfig } from './effective.ts';
import { REDACTED } from './hide-secrets.ts';

const EVERYTHING = `
server: { listen: "127.0.0.1:9100", allowed_hosts: [gpu.lan], cors_origins: ["https://a.example"], max_body_size: 1536KiB, keepalive: { after: 1500ms } }
limits: { max_queue_size: 60, max_concurrent: 20, max_models_concurrent: 4, max_turn: 90s }
timeouts: { request: 90s, total: 1h }
devices: { probe: static, list: [{ id: g0, memory: 24GiB, uuid: GPU-1 }, { id: g1, memory: 24GB }] }
drivers: { default: process, process: { command: [/opt/vllm/bin/vllm] } }
pools: { p: [g0, g1] }
defaults: { pool: p, max_model_len: 4096 }
models:
  a: { repo: x/a, aliases: [other], env: { HF_TOKEN: hidden-1, PLAIN: shown }, extra_args: [--hf-token, hidden-2, --seed, 3, "--api-secret=hidden-3"] }
  b: { url: "http://h:1/v1/", repo: x/b, api_key: hidden-4, headers: { x-team: hidden-5 }, request_defaults: { temperature: 0.5 } }
  c: { command: [server, --token, hidden-6, --port, "\${port}"], memory: 3GiB, metadata: { size: [1, 2] } }
`;

describe('the configuration in force', () => {
  it('[item 20] [S12] [S2] has the shape of a file, with what follows from it', async () => {
    const { config } = await load(EVERYTHING);
    const effective = config && effectiveConfig(config);
    expect(effective).toMatchObject({
      source: 'gateway.yaml',
      server: { listen: '127.0.0.1:9100', max_body_size: '1536KiB', keepalive: { after: '1500ms', every: '15s' } },
      limits: {
        max_queue_size: 60,
        max_concurrent: 20,
        max_models_concurrent: 4,
        max_in_flight: 80,
        http_pool_size: 80,
        max_turn: '90s',
        queue_timeout: '9m',
      },
      timeouts: { connect: '10s', first_byte: '90s', between_chunks: '90s', total: '1h', stall: '2m' },
      auth: 'none',
      devices: {
        list: [
          { id: 'g0', memory: '24GiB', uuid: 'GPU-1' },
          { id: 'g1', memory: '23437500KiB', uuid: null },
        ],
      },
      models: {
        b: { url: 'http://h:1', request_defaults: { temperature: 0.5 } },
        c: { memory: '3GiB', metadata: { size: [1, 2] } },
      },
    });
  });

  it.each([
    [50, 3, 150],
    [1, 1, 1],
    [100, 10, 1000],
  ])('[S2] multiplies %i concurrent requests by %i models to a pool of %i', async (concurrent, models, pool) => {
    const { config } = await load(
      `limits: { max_concurrent: ${concurrent}, max_models_concurrent: ${models} }\nmodels: { m: { url: "http://h:1" } }`,
    );
    expect(config && effectiveConfig(config)).toMatchObject({ limits: { max_in_flight: pool, http_pool_size: pool } });
  });

  it('says how long the process may take to end: requests, then the engines that it stops, then itself', async () => {
    const grace = async (yaml: string): Promise<unknown> => {
      const { config } = await load(yaml);
      return (config && effectiveConfig(config))?.['limits'];
    };
    const models = 'models: { a: { repo: a/b, max_model_len: 1, stop_timeout: 40s }, b: { url: "http://h:1" } }';
    expect(await grace(models)).toMatchObject({ stop_grace_period: '75s' });
    expect(await grace(`server: { on_shutdown: leave, shutdown_timeout: 10s }\n${models}`)).toMatchObject({
      stop_grace_period: '15s',
    });
    expect(await grace('models: { b: { url: "http://h:1" } }')).toMatchObject({ stop_grace_period: '35s' });
  });

  it('[item 20] [B193] shows no secret', async () => {
    const { config } = await load(EVERYTHING, { env: { GATEWAY_API_KEYS: 'hidden-7', GATEWAY_ADMIN_KEY: 'hidden-8' } });
    const effective = config && effectiveConfig(config);
    expect(JSON.stringify(effective)).not.toMatch(/hidden-\d/);
    expect(effective).toMatchObject({
      auth: { keys: [{ id: 'env-1', key: REDACTED, roles: ['inference'], models: ['*'] }] },
      admin_key: REDACTED,
      models: {
        a: {
          env: { HF_TOKEN: REDACTED, PLAIN: 'shown' },
          extra_args: ['--hf-token', REDACTED, '--seed', '3', `--api-secret=${REDACTED}`],
        },
        b: { api_key: REDACTED, headers: { 'x-team': REDACTED } },
        c: { command: ['server', '--token', REDACTED, '--port', '${port}'] },
      },
    });
  });

  it('reads back to itself when it is written into a file', async () => {
    const { config } = await load(EVERYTHING);
    const first = config && effectiveConfig(config);
    const { source: _source, admin_key: _admin, ...sections } = first ?? {};
    const limits = Object.fromEntries(
      Object.entries(sections['limits'] ?? {}).filter(
        ([name]) => !['max_in_flight', 'http_pool_size', 'stop_grace_period'].includes(name),
      ),
    );
    const again = await load(stringify({ ...sections, limits }));
    expect(again.problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(again.config && effectiveConfig(again.config)).toEqual(first);
  });
});

describe('the report of check', () => {
  it('is fine with warnings and information, unless it is strict', async () => {
    const file = 'limits: { max_queue_size: 5 }\nmodels: { m: { url: "http://h:1" } }';
    const relaxed = checkReport(await load(file));
    expect(relaxed.ok).toBe(true);
    expect(relaxed.problems.map(({ severity }) => severity)).toEqual(['warning']);
    expect(relaxed.effective).toMatchObject({ limits: { max_queue_size: 5 }, models: { m: { driver: 'external' } } });
    expect(checkReport(await load(file, { flags: { strict: true } })).ok).toBe(false);
  });

  it('fails on an error even where the default stands in, and still shows what is in force', async () => {
    const report = checkReport(
      await load('models: { m: { url: "http://h:1" } }', { env: { GATEWAY_MAX_QUEUE_SIZE: '0' } }),
    );
    expect(report.ok).toBe(false);
    expect(report.problems).toEqual([
      {
        severity: 'error',
        source: 'environment',
        line: null,
        column: null,
        path: 'GATEWAY_MAX_QUEUE_SIZE',
        code: 'out_of_range',
        message: '0 is out of range; allowed: a whole number from 1 to 10000; the default 200 is used',
      },
    ]);
    expect(report.effective).toMatchObject({ limits: { max_queue_size: 200 } });
  });

  it('has nothing in force when the file is refused', async () => {
    const report = checkReport(await load('models: {}'));
    expect(report).toMatchObject({
      ok: false,
      effective: null,
      problems: [{ source: 'gateway.yaml', line: 1, column: 1, path: 'models', code: 'no_models' }],
    });
  });
});
