/** Values that no log line may show, wherever they turn up. Of API keys only digests are known, but for those of the environment. */
import type { Config } from './config.ts';
import type { Environment } from './interpolate.ts';

const SECRET_HEADER = /key|token|secret|auth|cookie/i;
const VARIABLES = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'GATEWAY_ADMIN_KEY'];

export function logSecrets({ models }: Pick<Config, 'models'>, env: Environment): readonly string[] {
  const fromEnvironment = [...VARIABLES.map((name) => env[name]), ...(env['GATEWAY_API_KEYS']?.split(',') ?? [])];
  const fromModels = [...models.values()].flatMap((model) => [
    model.apiKey,
    ...Object.entries(model.headers).flatMap(([name, value]) => (SECRET_HEADER.test(name) ? [value] : [])),
  ]);
  return [...fromEnvironment, ...fromModels].flatMap((secret) => (secret ? [secret.trim()] : []));
}
