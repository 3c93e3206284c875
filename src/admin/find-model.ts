/** A model by the name that a caller gave: its own or an alias. */
import type { Config } from '../config/config.ts';
import { gatewayError, type GatewayError } from '../errors.ts';

const KNOWN_SHOWN = 20;
const NAME_SHOWN = 120;

export function findModel(
  { models, aliases }: Pick<Config, 'models' | 'aliases'>,
  name: string,
): { readonly model: string } | { readonly error: GatewayError } {
  const model = models.has(name) ? name : aliases.get(name);
  if (model !== undefined) return { model };
  const known = [...models.keys()].slice(0, KNOWN_SHOWN).join(', ');
  const more = models.size > KNOWN_SHOWN ? ` and ${models.size - KNOWN_SHOWN} more` : '';
  const message = `No model is called '${name.slice(0, NAME_SHOWN)}'; there are: ${known || 'none'}${more}.`;
  return { error: gatewayError('model_not_found', message, { param: 'model' }) };
}
