/** Traces: from the file, or from the variables of OpenTelemetry's specification. */
import type { Config } from './config.ts';
import { variable, type EnvironmentValues } from './environment.ts';
import type { Environment } from './interpolate.ts';
import type { Problems } from './problems.ts';
import { resolveKeys } from './resolve.ts';
import { collectorUrl } from './schema/address-reader.ts';
import type { WrittenFile } from './schema/file.ts';
import { numberFromText, quote, Substituted } from './schema/scalar.ts';
import { traceKeys } from './schema/telemetry-keys.ts';
import type { SecretReader } from './secrets.ts';

type Traces = Config['telemetry']['traces'];
type Sampling = Pick<Traces, 'sampleRatio' | 'followsCaller'>;

const TRACES_ENDPOINT = 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT';
const DISABLED = 'OTEL_SDK_DISABLED';
const SAMPLER = 'OTEL_TRACES_SAMPLER';
const SAMPLER_ARGUMENT = 'OTEL_TRACES_SAMPLER_ARG';
/** Path of OTLP over HTTP below an endpoint. */
const TRACES_PATH = '/v1/traces';

/** Variables of the specification without a key of their own. */
export const TRACE_VARIABLES: Readonly<Record<string, string>> = {
  [TRACES_ENDPOINT]: 'Where traces are sent to: the whole URL, in place of OTEL_EXPORTER_OTLP_ENDPOINT.',
  OTEL_EXPORTER_OTLP_HEADERS:
    'Headers of every export, as name=value,name=value; also OTEL_EXPORTER_OTLP_TRACES_HEADERS.',
  OTEL_EXPORTER_OTLP_TIMEOUT: 'Longest export in milliseconds; also OTEL_EXPORTER_OTLP_TRACES_TIMEOUT.',
  OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip = exports are compressed; also OTEL_EXPORTER_OTLP_TRACES_COMPRESSION.',
  OTEL_EXPORTER_OTLP_CERTIFICATE: 'File of the certificate authorities of the collector; also with TRACES_.',
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json is spoken whatever stands here; grpc = no traces, with a warning.',
  [SAMPLER]: 'parentbased_traceidratio and the other five of the specification; sample_ratio in a file goes before it.',
  [SAMPLER_ARGUMENT]: 'The ratio of a sampler whose name ends in traceidratio; 1.',
  OTEL_TRACES_EXPORTER: 'Anything but otlp = an endpoint of the environment is not used.',
  OTEL_RESOURCE_ATTRIBUTES: 'More that is told of this process, as name=value,name=value.',
  [DISABLED]: 'true = no traces, whatever else is set.',
};

export interface TracesInput {
  readonly written: WrittenFile['telemetry'];
  readonly environment: EnvironmentValues;
  readonly env: Environment;
  readonly secrets: SecretReader;
  readonly problems: Problems;
}

export async function resolveTelemetry(input: TracesInput): Promise<Config['telemetry']> {
  const { written, environment, env, secrets, problems } = input;
  const values = resolveKeys(traceKeys, [written?.traces], environment);
  const headers: Record<string, string> = {};
  for (const [name, text] of Object.entries(values.headers)) {
    const secret = await secrets.text(text);
    if ('value' in secret) headers[name] = secret.value;
    else problems.inFile('error', ['telemetry', 'traces', 'headers', name], 'secret', secret.complaint);
  }
  const { endpoint } = written?.traces ?? {};
  const ratio = written?.traces?.sample_ratio;
  return {
    traces: {
      url: isDisabled(env)
        ? null
        : endpoint === undefined
          ? environmentUrl(values.endpoint, env, problems)
          : below(endpoint),
      headers,
      serviceName: values.service_name,
      genaiAttributes: values.genai_attributes,
      ...(ratio === undefined ? environmentSampling(env, problems) : { sampleRatio: ratio, followsCaller: true }),
    },
  };
}

const isDisabled = (env: Environment): boolean => variable(env, DISABLED)?.trim().toLowerCase() === 'true';

function below(endpoint: string | null): string | null {
  return endpoint === null || endpoint.endsWith(TRACES_PATH) ? endpoint : `${endpoint}${TRACES_PATH}`;
}

function environmentUrl(endpoint: string | null, env: Environment, problems: Problems): string | null {
  const own = variable(env, TRACES_ENDPOINT);
  const url = own === undefined ? below(endpoint) : whole(own, problems);
  if (url === null) return null;
  const exporter = variable(env, 'OTEL_TRACES_EXPORTER')?.trim() ?? 'otlp';
  if (!exporter.split(',').includes('otlp')) return null;
  const protocol = ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL'].find(
    (name) => variable(env, name) !== undefined,
  );
  if (protocol === undefined || variable(env, protocol)?.trim() !== 'grpc') return url;
  const remedy = 'write http/json here and the HTTP port of the collector, most often 4318, in the endpoint';
  problems.inEnvironment('warning', protocol, 'unsupported', `grpc is not spoken: there are no traces; ${remedy}`);
  return null;
}

function whole(text: string, problems: Problems): string | null {
  const reading = collectorUrl().read(new Substituted(text, true));
  if ('value' in reading) return reading.value;
  for (const { code, message } of reading.complaints) {
    problems.inEnvironment('warning', TRACES_ENDPOINT, code, `${message}; there are no traces`);
  }
  return null;
}

const SAMPLERS: Readonly<Record<string, { readonly ratio: number | 'argument'; readonly followsCaller: boolean }>> = {
  always_on: { ratio: 1, followsCaller: false },
  always_off: { ratio: 0, followsCaller: false },
  traceidratio: { ratio: 'argument', followsCaller: false },
  parentbased_always_on: { ratio: 1, followsCaller: true },
  parentbased_always_off: { ratio: 0, followsCaller: true },
  parentbased_traceidratio: { ratio: 'argument', followsCaller: true },
};

function environmentSampling(env: Environment, problems: Problems): Sampling {
  const fallback: Sampling = { sampleRatio: traceKeys.sample_ratio.fallback, followsCaller: true };
  const name = variable(env, SAMPLER)?.trim();
  if (name === undefined) return fallback;
  const sampler = Object.hasOwn(SAMPLERS, name) ? SAMPLERS[name] : undefined;
  if (sampler === undefined) {
    const allowed = `allowed: ${Object.keys(SAMPLERS).join(', ')}`;
    problems.inEnvironment('warning', SAMPLER, 'not_allowed', `${quote(name)} is no sampler known here; ${allowed}`);
    return fallback;
  }
  const { ratio, followsCaller } = sampler;
  return { sampleRatio: ratio === 'argument' ? argument(env, problems) : ratio, followsCaller };
}

function argument(env: Environment, problems: Problems): number {
  const text = variable(env, SAMPLER_ARGUMENT);
  if (text === undefined) return 1;
  const ratio = numberFromText(text);
  if (ratio !== undefined && ratio >= 0 && ratio <= 1) return ratio;
  const message = `${quote(text)} is no ratio; allowed: a number from 0 to 1; 1 is used`;
  problems.inEnvironment('warning', SAMPLER_ARGUMENT, 'not_allowed', message);
  return 1;
}
