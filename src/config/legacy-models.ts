/** ALLOWED_MODELS_JSON: the model map of the original, used when there is no file. */
import type { Problems } from './problems.ts';
import { modelKeys, refuseName } from './schema/model-keys.ts';
import { quote } from './schema/scalar.ts';

export const LEGACY_VARIABLE = 'ALLOWED_MODELS_JSON';
const EXAMPLE = '{"llama": "meta-llama/Llama-3.1-8B-Instruct"}';

/** Name → repo, in the order written. Undefined when it says nothing usable; every fault is a problem. */
export function readLegacyModels(text: string, problems: Problems): ReadonlyMap<string, string> | undefined {
  const complain = (code: string, message: string): undefined => {
    problems.inEnvironment('error', LEGACY_VARIABLE, code, message);
    return undefined;
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    // The engine's own words name the place in the text.
    const detail = error instanceof Error ? error.message : 'unreadable';
    return complain('invalid_json', `is not valid JSON (${detail}); allowed: ${EXAMPLE}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return complain('wrong_type', `holds ${quote(parsed)} instead of an object; allowed: ${EXAMPLE}`);
  }
  const models = new Map<string, string>();
  for (const [name, repo] of Object.entries(parsed)) {
    const wrongName = refuseName(name);
    if (wrongName !== undefined) complain('not_allowed', `model name: ${wrongName}`);
    const reading = modelKeys.repo.reader.read(repo);
    if ('complaints' in reading)
      complain('not_allowed', `${quote(name)}: ${reading.complaints[0]?.message ?? 'unusable'}`);
    else if (wrongName === undefined) models.set(name, reading.value ?? '');
  }
  return models;
}
