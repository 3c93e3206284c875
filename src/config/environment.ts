/** The environment: which variable sets which key, and what becomes of the ones that no longer set anything. */
import type { Environment } from './interpolate.ts';
import type { Path, Problems } from './problems.ts';
import { dockerKeys } from './schema/docker-keys.ts';
import type { Key, Keys } from './schema/key.ts';
import { ENFORCE_EAGER, sharedModelKeys } from './schema/model-keys.ts';
import { Substituted } from './schema/scalar.ts';
import {
  deviceKeys,
  limitKeys,
  logKeys,
  memoryKeys,
  processKeys,
  retryKeys,
  serverKeys,
  timeoutKeys,
} from './schema/sections.ts';
import { telemetryKeys } from './schema/telemetry-keys.ts';
import { suggest } from './suggest.ts';

export interface BoundKey {
  readonly key: Key<unknown>;
  /** Where a file writes it; for a model's keys the path below the model. */
  readonly path: Path;
  readonly ofModel: boolean;
}

function bound(keys: Keys, path: Path, ofModel: boolean): BoundKey[] {
  return Object.entries(keys).flatMap(([name, entry]) =>
    entry.kind === 'key'
      ? [{ key: entry, path: [...path, name], ofModel }]
      : bound(entry.keys, [...path, name], ofModel),
  );
}

/** Every key of a file with the place where it is written. */
export const boundKeys: readonly BoundKey[] = [
  ...bound(serverKeys, ['server'], false),
  ...bound(logKeys, ['log'], false),
  ...bound(limitKeys, ['limits'], false),
  ...bound(timeoutKeys, ['timeouts'], false),
  ...bound(retryKeys, ['retry'], false),
  ...bound(deviceKeys, ['devices'], false),
  ...bound(memoryKeys, ['memory'], false),
  ...bound(telemetryKeys, ['telemetry'], false),
  ...bound(dockerKeys, ['drivers', 'docker'], false),
  ...bound(processKeys, ['drivers', 'process'], false),
  ...bound(sharedModelKeys, [], true),
];

/** Variables that are not bound to one key, with what they do. */
export const OTHER_VARIABLES: Readonly<Record<string, string>> = {
  GATEWAY_CONFIG_FILE: 'Configuration file; must exist.',
  MODELS_CONFIG_FILE: 'Configuration file; when absent the next place is tried.',
  GATEWAY_STRICT_CONFIG: 'true = refuse to start on any error or warning, as --strict does.',
  GATEWAY_AUTH: 'none = open to everyone who reaches the listener.',
  GATEWAY_API_KEYS: 'Inference keys, separated by commas: plain, file:PATH or sha256:HEX.',
  GATEWAY_ADMIN_KEY: 'Key of the control plane: plain, file:PATH or sha256:HEX.',
  GATEWAY_URL: 'Address of the gateway that the command line talks to.',
  ALLOWED_MODELS_JSON: 'Models as {"name": "org/repo"}, used when there is no file.',
  MEMORY_FOOTPRINT_FILE: 'Footprints that the original learned; read once, while server.state_dir has none.',
  VLLM_ENFORCE_EAGER: 'true = pass --enforce-eager to every engine.',
  VLLM_NO_CUDAGRAPH: 'true = pass --enforce-eager to every engine.',
};

/** Variables of the original that set nothing here any more. */
export const RETIRED: Readonly<Record<string, string>> = {
  VLLM_SWAP_SPACE: 'vLLM dropped --swap-space; an engine that still has it takes it through extra_args',
  GATEWAY_REQUEST_STALE_FACTOR: 'running requests are counted exactly, so there are no stale ones to write off',
};

/** A Kubernetes service called "gateway" sets these for every pod beside it. */
const SERVICE_LINKS = /^GATEWAY_(?:SERVICE_|PORT(?:_|$))/;

export interface FromEnvironment {
  readonly value: unknown;
  readonly variable: string;
}

export type EnvironmentValues = ReadonlyMap<Key<unknown>, FromEnvironment>;

/** The value of a variable; an empty one is not set. */
export function variable(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : value;
}

/** `hides(bound)`: what in the file stands over the variable, for the note; undefined when nothing does. */
export function readEnvironment(
  env: Environment,
  strict: boolean,
  hides: (bound: BoundKey) => string | undefined,
  problems: Problems,
): EnvironmentValues {
  const values = new Map<Key<unknown>, FromEnvironment>();
  const hidden = new Map<string, string>();
  const used = new Set<string>();
  const told = new Set<string>();
  for (const entry of boundKeys) {
    const broken: Broken[] = [];
    for (const name of entry.key.env) {
      const text = variable(env, name);
      if (text === undefined) continue;
      const hider = hides(entry);
      if (hider !== undefined) {
        hidden.set(name, hider);
        continue;
      }
      used.add(name);
      const reading = entry.key.fromEnv.read(new Substituted(text, true));
      if ('value' in reading) {
        if (!values.has(entry.key)) values.set(entry.key, { value: reading.value, variable: name });
      } else broken.push({ name, ...(reading.complaints[0] ?? { code: 'not_allowed', message: 'is not usable' }) });
    }
    for (const fault of broken) {
      if (told.has(fault.name)) continue;
      told.add(fault.name);
      tellBroken(fault, entry.key, values.get(entry.key), strict, problems);
    }
  }
  for (const [name, hider] of hidden) {
    if (used.has(name)) continue;
    problems.inEnvironment(
      'info',
      name,
      'hidden_by_file',
      `has no effect: ${hider} in ${problems.source} goes before it`,
    );
  }
  return values;
}

interface Broken {
  readonly name: string;
  readonly code: string;
  readonly message: string;
}

function tellBroken(
  fault: Broken,
  key: Key<unknown>,
  instead: FromEnvironment | undefined,
  strict: boolean,
  problems: Problems,
): void {
  if (strict || !key.fromEnv.lenient) {
    problems.inEnvironment('error', fault.name, fault.code, fault.message);
    return;
  }
  const used = instead ? `the value of ${instead.variable} is used` : `the default ${defaultText(key)} is used`;
  problems.lenient(fault.name, fault.code, `${fault.message}; ${used}`);
}

function defaultText(key: Key<unknown>): string {
  if (key.fallbackText !== undefined) return key.fallbackText;
  const shown = key.fallback === undefined ? 'of another key' : key.reader.show(key.fallback);
  return typeof shown === 'string' ? shown : JSON.stringify(shown);
}

export function readEnforceEager(env: Environment, problems: Problems): boolean {
  let on = false;
  for (const name of ENFORCE_EAGER.env) {
    const text = variable(env, name);
    if (text === undefined) continue;
    const reading = ENFORCE_EAGER.reader.read(new Substituted(text, true));
    if ('value' in reading) on ||= reading.value;
    else for (const found of reading.complaints) problems.inEnvironment('error', name, found.code, found.message);
  }
  return on;
}

/** Retired variables, and names that look like a slip of the pen. */
export function noteStrangers(env: Environment, problems: Problems): void {
  for (const [name, reason] of Object.entries(RETIRED)) {
    if (variable(env, name) === undefined) continue;
    problems.inEnvironment('warning', name, 'retired', `has no effect any more: ${reason}; remove it`);
  }
  const known = new Set([
    ...boundKeys.flatMap(({ key }) => key.env),
    ...Object.keys(OTHER_VARIABLES),
    ...Object.keys(RETIRED),
  ]);
  for (const name of Object.keys(env).toSorted()) {
    if (
      !name.startsWith('GATEWAY_') ||
      known.has(name) ||
      variable(env, name) === undefined ||
      SERVICE_LINKS.test(name)
    )
      continue;
    const near = suggest(name, known);
    if (near === undefined)
      problems.inEnvironment('info', name, 'unknown_variable', 'is not a variable of the gateway');
    else
      problems.inEnvironment(
        'warning',
        name,
        'unknown_variable',
        `is not a variable of the gateway; did you mean ${near}?`,
      );
  }
}
