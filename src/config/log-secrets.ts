/** Values that no log line may show, wherever they turn up. Of API keys only digests are known, but for those of the environment. */
import type { Config } from './config.ts';
import type { Environment } from './interpolate.ts';

const SECRET_HEADER = /key|token|secret|auth|cookie/i;
const VARIABLES = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'GATEWAY_ADMIN_KEY'];
const EXPORT_HEADERS = ['OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_EXPORTER_OTLP_TRACES_HEADERS'];

export function logSecrets(
  { models, telemetry }: Pick<Config, 'models' | 'telemetry'>,
  env: Environment,
): readonly string[] {
  const fromEnvironment = [...VARIABLES.map((name) => env[name]), ...(env['GATEWAY_API_KEYS']?.split(',') ?? [])];
  const fromModels = [...models.values()].flatMap((model) => [
    model.apiKey,
    ...Object.entries(model.headers).flatMap(([name, value]) => (SECRET_HEADER.test(name) ? [value] : [])),
  ]);
  const ofExports = Object.values(telemetry.traces.headers);
  const ofVariables = EXPORT_HEADERS.flatMap((name) => env[name]?.split(',') ?? []).map(valueOf);
  return [...fromEnvironment, ...fromModels, ...ofExports, ...ofVariables].flatMap((secret) =>
    secret ? [secret.trim()] : [],
  );
}

/** Of `name=value`, percent-encoded as the specification wants it. */
function valueOf(pair: string): string {
  const value = pair.slice(pair.indexOf('=') + 1).trim();
  try {
    return decodeURIComponent(value);
  } catch {
    // Not encoded, then: taken as it is.
    return value;
  }
}
