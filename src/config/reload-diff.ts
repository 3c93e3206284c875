/** What becomes different when one configuration takes the place of another. Pure; secrets are compared and never shown. */
import type { Config, ModelConfig } from './config.ts';
import { effectiveConfig } from './effective.ts';
import { REDACTED } from './hide-secrets.ts';
import type { Path } from './problems.ts';
import { MODEL_RULES, sectionRules, type ReloadRule } from './reload-rules.ts';
import { pathText } from './schema/spelling.ts';

export interface SettingChange {
  /** `limits.max_queue_size`, `models.llama.max_model_len`. */
  readonly path: string;
  /** In the spelling of a file; a secret is `***`. Absent keys are null. */
  readonly from: unknown;
  readonly to: unknown;
  readonly rule: ReloadRule;
}

export interface ConfigDiff {
  /** Models whose engines and requests go on; their limits may change. */
  readonly keep: readonly string[];
  /** Their engines end their requests and leave; new ones are started when they are wanted. */
  readonly drainAndRestart: readonly string[];
  readonly remove: readonly string[];
  readonly add: readonly string[];
  /** Keys outside models, then keys of the models that stay; in the order of the reference page. */
  readonly changed: readonly SettingChange[];
}

/** What an engine of this model is, as one text: equal where two engines are interchangeable. */
export type Identity = (config: Config, model: ModelConfig) => string;

type Tree = Readonly<Record<string, unknown>>;

/** On both sides of a secret while configurations are compared; no text of a file holds it. */
const SECRET_MARK = '\u0000';

export function diffConfigs(before: Config, after: Config, identity: Identity): ConfigDiff {
  const [old, now] = [comparable(before), comparable(after)];
  const staying = [...before.models.values()].filter(({ name }) => after.models.has(name));
  const differs = (model: ModelConfig): boolean => {
    const next = after.models.get(model.name);
    return next !== undefined && identity(before, model) !== identity(after, next);
  };
  const names = (models: readonly ModelConfig[]): readonly string[] => models.map(({ name }) => name);
  return {
    keep: names(staying.filter((model) => !differs(model))),
    drainAndRestart: names(staying.filter(differs)),
    remove: [...before.models.keys()].filter((name) => !after.models.has(name)),
    add: [...after.models.keys()].filter((name) => !before.models.has(name)),
    changed: [
      ...sectionRules(before).flatMap(({ path, rule }) => changeAt(path, rule, old, now)),
      ...names(staying).flatMap((name) =>
        Object.entries(MODEL_RULES).flatMap(([key, rule]) => changeAt(['models', name, key], rule, old, now)),
      ),
    ],
  };
}

/** Nothing differs that anybody could notice, the order of the models in lists included. */
export function isSame(before: Config, after: Config): boolean {
  return JSON.stringify(comparable(before)) === JSON.stringify(comparable(after));
}

/** Keys that only a start can change, with the value that stays, where `wanted` has another one. */
export function keptUntilRestart(
  running: Config,
  wanted: Omit<Config, 'problems'>,
): readonly { readonly path: Path; readonly kept: unknown }[] {
  const [old, now] = [comparable(running), comparable(wanted)];
  return sectionRules(running).flatMap(({ path, rule }) =>
    rule === 'restart' && changeAt(path, rule, old, now).length > 0 ? [{ path, kept: shown(valueAt(old, path)) }] : [],
  );
}

function comparable(config: Omit<Config, 'problems'>): Tree {
  const {
    source: _source,
    auth,
    ...rest
  } = effectiveConfig(config, (secret) => `${SECRET_MARK}${secret}${SECRET_MARK}`);
  return { ...rest, auth: { keys: auth, admin_key: rest['admin_key'], none: config.auth.explicitNone } };
}

function changeAt(path: Path, rule: ReloadRule, old: Tree, now: Tree): readonly SettingChange[] {
  const [from, to] = [valueAt(old, path), valueAt(now, path)];
  return JSON.stringify(from) === JSON.stringify(to)
    ? []
    : [{ path: pathText(path), from: shown(from), to: shown(to), rule }];
}

function valueAt(tree: Tree, path: Path): unknown {
  let found: unknown = tree;
  for (const name of path) {
    if (typeof found !== 'object' || found === null) return null;
    found = Object.hasOwn(found, name) ? (found as Tree)[name] : null;
  }
  return found;
}

function shown(value: unknown): unknown {
  if (typeof value === 'string') {
    const [from, to] = [value.indexOf(SECRET_MARK), value.lastIndexOf(SECRET_MARK)];
    return from < 0 ? value : `${value.slice(0, from)}${REDACTED}${value.slice(to + 1)}`;
  }
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shown(part)]));
}
