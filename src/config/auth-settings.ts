/** Keys: from the file, or from the environment. */
import type { ApiKey, Config, Role } from './config.ts';
import { variable } from './environment.ts';
import type { Environment } from './interpolate.ts';
import type { FilePlaces, Path, Problems } from './problems.ts';
import type { WrittenFile } from './schema/file.ts';
import { quote } from './schema/scalar.ts';
import type { SecretReader } from './secrets.ts';

type Auth = Config['auth'];

const ALL_ROLES: readonly Role[] = ['inference', 'admin', 'metrics'];

export async function resolveAuth(
  written: WrittenFile['auth'],
  env: Environment,
  secrets: SecretReader,
  file: FilePlaces | undefined,
  problems: Problems,
): Promise<Auth> {
  const adminKey = await adminKeyOf(env, secrets, problems);
  const mode = authMode(env, problems);
  const inFile = written !== undefined;
  const keys =
    written === 'none'
      ? []
      : inFile
        ? await fileKeys(written.keys ?? [], secrets, file, problems)
        : await environmentKeys(env, secrets, problems);
  if (inFile) noteHiddenKeys(written, env, problems);
  if (inFile && written !== 'none' && (written.keys ?? []).length === 0 && !file?.place(['auth', 'keys', 0])) {
    problems.inFile('error', ['auth', 'keys'], 'missing', 'holds no key; write at least one {id, key}, or auth: none', [
      ['auth'],
    ]);
  }
  const explicitNone = keys.length === 0 && (written === 'none' || (!inFile && mode === 'none'));
  // An admin key alone, without a word that everything else is meant to be open, guards everything.
  return { keys: keys.length === 0 && adminKey && !explicitNone ? [adminKey] : keys, adminKey, explicitNone };
}

function authMode(env: Environment, problems: Problems): 'none' | undefined {
  const mode = variable(env, 'GATEWAY_AUTH');
  if (mode === undefined) return undefined;
  if (mode.trim().toLowerCase() === 'none') return 'none';
  const message = `${quote(mode)} is not allowed; allowed: only none; keys are set with GATEWAY_API_KEYS or auth.keys`;
  problems.inEnvironment('error', 'GATEWAY_AUTH', 'not_allowed', message);
  return undefined;
}

function noteHiddenKeys(written: NonNullable<WrittenFile['auth']>, env: Environment, problems: Problems): void {
  const where = written === 'none' ? 'auth: none' : 'auth.keys';
  if (variable(env, 'GATEWAY_API_KEYS') !== undefined) {
    // Keys that somebody set and that guard nothing are more than a note.
    const severity = written === 'none' ? 'warning' : 'info';
    const remedy = written === 'none' ? '; remove one of the two' : '';
    problems.inEnvironment(
      severity,
      'GATEWAY_API_KEYS',
      'hidden_by_file',
      `has no effect: ${where} in ${problems.source} goes before it${remedy}`,
    );
  }
  if (variable(env, 'GATEWAY_AUTH') !== undefined) {
    problems.inEnvironment(
      'info',
      'GATEWAY_AUTH',
      'hidden_by_file',
      `has no effect: ${where} in ${problems.source} goes before it`,
    );
  }
}

async function adminKeyOf(env: Environment, secrets: SecretReader, problems: Problems): Promise<ApiKey | null> {
  const text = variable(env, 'GATEWAY_ADMIN_KEY');
  if (text === undefined) return null;
  const digest = await secrets.digest(text);
  if ('complaint' in digest) {
    problems.inEnvironment('error', 'GATEWAY_ADMIN_KEY', 'secret', digest.complaint);
    return null;
  }
  return { id: 'admin', digest: digest.value, roles: ALL_ROLES, models: ['*'] };
}

async function environmentKeys(
  env: Environment,
  secrets: SecretReader,
  problems: Problems,
): Promise<readonly ApiKey[]> {
  const text = variable(env, 'GATEWAY_API_KEYS');
  if (text === undefined) return [];
  const keys: ApiKey[] = [];
  const seen = new Map<string, number>();
  for (const [index, part] of text.split(',').entries()) {
    const digest: { value: string } | { complaint: string } =
      part.trim() === ''
        ? { complaint: 'is blank; separate keys by single commas' }
        : await secrets.digest(part.trim());
    if ('complaint' in digest) {
      problems.inEnvironment('error', 'GATEWAY_API_KEYS', 'secret', `key ${index + 1}: ${digest.complaint}`);
      continue;
    }
    const first = seen.get(digest.value);
    if (first !== undefined) {
      problems.inEnvironment(
        'error',
        'GATEWAY_API_KEYS',
        'duplicate',
        `key ${index + 1} is the same as key ${first + 1}; remove one`,
      );
      continue;
    }
    seen.set(digest.value, index);
    keys.push({ id: `env-${index + 1}`, digest: digest.value, roles: ['inference'], models: ['*'] });
  }
  return keys;
}

type WrittenKeys = Exclude<NonNullable<WrittenFile['auth']>, 'none'>['keys'];

async function fileKeys(
  written: NonNullable<WrittenKeys>,
  secrets: SecretReader,
  file: FilePlaces | undefined,
  problems: Problems,
): Promise<readonly ApiKey[]> {
  const keys: ApiKey[] = [];
  const ids = new Map<string, number>();
  const digests = new Map<string, number>();
  for (const [index, entry] of written.entries()) {
    const path: Path = ['auth', 'keys', index];
    for (const name of ['id', 'key'] as const) {
      if (entry[name] !== undefined || file?.place([...path, name], 'key')) continue;
      const right = name === 'id' ? 'a name for logs and metrics' : 'the key: plain, ${NAME}, file:PATH or sha256:HEX';
      problems.inFile('error', [...path, name], 'missing', `is missing; allowed: ${right}`, [path]);
    }
    if (entry.key === undefined || entry.id === undefined) continue;
    const digest = await secrets.digest(entry.key);
    if ('complaint' in digest) {
      problems.inFile('error', [...path, 'key'], 'secret', digest.complaint);
      continue;
    }
    const sameId = ids.get(entry.id);
    if (sameId !== undefined) {
      problems.inFile(
        'error',
        [...path, 'id'],
        'duplicate',
        `${quote(entry.id)} is already the id of auth.keys[${sameId}]; ids are unique`,
      );
    }
    if (entry.id === 'anonymous' || entry.id === 'admin') {
      problems.inFile(
        'error',
        [...path, 'id'],
        'not_allowed',
        `${quote(entry.id)} is taken by the gateway itself; allowed: any other name`,
      );
    }
    const sameKey = digests.get(digest.value);
    if (sameKey !== undefined) {
      problems.inFile(
        'error',
        [...path, 'key'],
        'duplicate',
        `is the same key as auth.keys[${sameKey}]; one key has one id`,
      );
    }
    ids.set(entry.id, sameId ?? index);
    digests.set(digest.value, sameKey ?? index);
    keys.push({
      id: entry.id,
      digest: digest.value,
      roles: entry.roles ?? ['inference'],
      models: entry.models ?? ['*'],
    });
  }
  return keys;
}
