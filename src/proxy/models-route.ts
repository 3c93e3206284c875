/** `/v1/models`, answered from the configuration: every engine may be down. */
import type { Principal } from '../auth/auth.ts';
import type { ModelState } from '../core/snapshot.ts';
import { gatewayError, type GatewayError } from '../errors.ts';
import { SECOND } from '../units.ts';
import { decodePath } from './head-rules.ts';
import { MAX_NAMES_LISTED } from './limits.ts';
import { resolveModel, type ProxyModel, type ProxySettings } from './settings.ts';

type StateOf = (model: string) => ModelState;

interface ModelEntry {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: string;
  readonly max_model_len: number | null;
  readonly parent?: string;
  readonly state: ModelState;
  readonly description?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

function entry(id: string, model: ProxyModel, settings: ProxySettings, stateOf: StateOf): ModelEntry {
  return {
    id,
    object: 'model',
    created: Math.floor(settings.loadedAt / SECOND),
    owned_by: model.ownedBy,
    max_model_len: model.maxModelLen,
    ...(id === model.name ? {} : { parent: model.name }),
    state: stateOf(model.name),
    ...(model.description === null ? {} : { description: model.description }),
    ...(model.metadata === null ? {} : { metadata: model.metadata }),
  };
}

export function listModels(settings: ProxySettings, principal: Principal, stateOf: StateOf): object {
  const data: ModelEntry[] = [];
  for (const model of settings.models.values()) {
    if (model.unlisted || !principal.mayUse(model.name)) continue;
    for (const id of [model.name, ...model.aliases]) data.push(entry(id, model, settings, stateOf));
  }
  return { object: 'list', data };
}

/** @param rawId as it stands in the path, slashes raw or encoded */
export function describeModel(
  rawId: string,
  settings: ProxySettings,
  principal: Principal,
  stateOf: StateOf,
): ModelEntry | GatewayError {
  for (const id of new Set([rawId, decodePath(rawId) ?? rawId])) {
    const model = resolveModel(settings, id);
    if (model !== undefined && principal.mayUse(model.name)) return entry(id, model, settings, stateOf);
  }
  return modelNotFound(decodePath(rawId) ?? rawId, settings, principal);
}

/** A model that the key may not use is as unknown as one that does not exist. */
export function modelNotFound(name: string, settings: ProxySettings, principal: Principal): GatewayError {
  const known: string[] = [];
  let more = 0;
  for (const model of settings.models.values()) {
    if (model.unlisted || !principal.mayUse(model.name)) continue;
    if (known.length < MAX_NAMES_LISTED) known.push(model.name);
    else more++;
  }
  const list =
    known.length === 0 ? 'none is available to you' : `${known.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return gatewayError(
    'model_not_found',
    `The model ${JSON.stringify(shorten(name))} does not exist; known models: ${list}.`,
    {
      param: 'model',
    },
  );
}

function shorten(name: string): string {
  return name.length > 128 ? `${name.slice(0, 128)}…` : name;
}
