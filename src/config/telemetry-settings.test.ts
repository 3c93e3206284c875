import { describe, expect, it } from 'vitest';
import { load, MODEL, type Loaded, type Situation } from '../../test/support/load-config.ts';
import type { Config } from './config.ts';
import { effectiveConfig } from './effective.ts';
import { logSecrets } from './log-secrets.ts';

type Variables = Readonly<Record<string, string>>;

const inFile = (traces: string, situation: Situation = {}): Promise<Loaded> =>
  load(`${MODEL}\ntelemetry: { traces: { ${traces} } }`, situation);
const tracesOf = async (loaded: Promise<Loaded>): Promise<Config['telemetry']['traces'] | undefined> =>
  (await loaded).config?.telemetry.traces;
const fromVariables = (env: Variables): Promise<Config['telemetry']['traces'] | undefined> =>
  tracesOf(load(MODEL, { env }));

const BASE = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' };

describe('telemetry', () => {
  it('has no traces unless somebody says where to', async () => {
    expect(await tracesOf(load(MODEL))).toEqual({
      url: null,
      headers: {},
      serviceName: 'vllm-gateway',
      genaiAttributes: false,
      sampleRatio: 1,
      followsCaller: true,
    });
    expect((await tracesOf(inFile('endpoint: null', { env: BASE })))?.url).toBeNull();
  });

  it.each([
    ['http://collector:4318', 'http://collector:4318/v1/traces'],
    ['http://collector:4318/', 'http://collector:4318/v1/traces'],
    ['https://example.org/otlp', 'https://example.org/otlp/v1/traces'],
    ['https://example.org/otlp/v1/traces', 'https://example.org/otlp/v1/traces'],
  ])('sends to %s as %s', async (endpoint, url) => {
    expect((await tracesOf(inFile(`endpoint: "${endpoint}"`)))?.url).toBe(url);
    expect((await fromVariables({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }))?.url).toBe(url);
  });

  it('takes the URL that is meant for traces alone as it is', async () => {
    const own = { ...BASE, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://example.org/ingest' };
    expect((await fromVariables(own))?.url).toBe('https://example.org/ingest');
    expect((await tracesOf(inFile('endpoint: "http://file:1"', { env: own })))?.url).toBe('http://file:1/v1/traces');
  });

  it.each([
    [{ ...BASE, OTEL_SDK_DISABLED: 'true' }, []],
    [{ ...BASE, OTEL_TRACES_EXPORTER: 'none' }, []],
    [{ ...BASE, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, ['OTEL_EXPORTER_OTLP_PROTOCOL']],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'collector:4318' }, ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'nonsense' }, ['OTEL_EXPORTER_OTLP_ENDPOINT']],
  ])('starts without traces with %j and says of which variable', async (env, told) => {
    const { config, problems } = await load(MODEL, { env });
    expect(config?.telemetry.traces.url).toBeNull();
    expect(problems.map(({ path }) => path)).toEqual(told);
  });

  it.each([
    ['always_on', undefined, 1, false],
    ['always_off', undefined, 0, false],
    ['traceidratio', '0.25', 0.25, false],
    ['parentbased_always_on', undefined, 1, true],
    ['parentbased_always_off', undefined, 0, true],
    ['parentbased_traceidratio', '0.25', 0.25, true],
    ['parentbased_traceidratio', undefined, 1, true],
  ])('samples with %s and %s as the specification says', async (sampler, argument, sampleRatio, followsCaller) => {
    const env = { OTEL_TRACES_SAMPLER: sampler, ...(argument !== undefined && { OTEL_TRACES_SAMPLER_ARG: argument }) };
    expect(await fromVariables(env)).toMatchObject({ sampleRatio, followsCaller });
    const file = await tracesOf(inFile('sample_ratio: 0.5', { env }));
    expect(file).toMatchObject({ sampleRatio: 0.5, followsCaller: true });
  });

  it.each([
    [{ OTEL_TRACES_SAMPLER: 'jaeger_remote' }, 'OTEL_TRACES_SAMPLER'],
    [{ OTEL_TRACES_SAMPLER: 'constructor' }, 'OTEL_TRACES_SAMPLER'],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' }, 'OTEL_TRACES_SAMPLER_ARG'],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: 'half' }, 'OTEL_TRACES_SAMPLER_ARG'],
  ])('records everything with %j, and warns', async (env, path) => {
    const { config, problems } = await load(MODEL, { env });
    expect(config?.telemetry.traces.sampleRatio).toBe(1);
    expect(problems.map((problem) => [problem.severity, problem.path])).toEqual([['warning', path]]);
  });

  it('reads credentials from files and variables, and shows them nowhere', async () => {
    const { config } = await inFile(
      'endpoint: "http://c:1", headers: { authorization: "file:token", x-b: "${B_KEY}" }',
      {
        files: { '/work-folder/token': 'secret-of-the-file\n' },
        env: { B_KEY: 'secret-of-b', OTEL_EXPORTER_OTLP_HEADERS: 'a=secret%20of-c,b=%zz-secret' },
      },
    );
    if (config === null) throw new Error('it is a good configuration');
    const { headers } = config.telemetry.traces;
    expect(headers).toEqual({ authorization: 'secret-of-the-file', 'x-b': 'secret-of-b' });
    expect(JSON.stringify(effectiveConfig(config))).not.toContain('secret-of');
    const env = { OTEL_EXPORTER_OTLP_HEADERS: 'a=secret%20of-c,b=%zz-secret' };
    expect(logSecrets(config, env)).toEqual(['secret-of-the-file', 'secret-of-b', 'secret of-c', '%zz-secret']);
  });

  it.each([
    ['endpoint: "ftp://x"', 'telemetry.traces.endpoint'],
    ['endpoint: "http://user:pass@x"', 'telemetry.traces.endpoint'],
    ['endpoint: "http://x/?token=1"', 'telemetry.traces.endpoint'],
    ['headers: { host: x }', 'telemetry.traces.headers.host'],
    ['headers: { a: "file:absent" }', 'telemetry.traces.headers.a'],
    ['sample_ratio: 1.5', 'telemetry.traces.sample_ratio'],
    ['service_name: ""', 'telemetry.traces.service_name'],
    ['genai_attributes: 3', 'telemetry.traces.genai_attributes'],
    ['end_point: "http://x"', 'telemetry.traces.end_point'],
  ])('refuses %s', async (traces, path) => {
    const { config, problems } = await inFile(traces);
    expect(config).toBeNull();
    expect(problems.map((problem) => problem.path)).toEqual([path]);
  });
});
