/** Which file is read, and its text. */
import type { Environment } from './interpolate.ts';
import { variable } from './environment.ts';
import type { Place, Problems } from './problems.ts';

/** What of the platform's files the configuration needs. */
export interface ConfigFiles {
  stat(path: string): Promise<{ readonly kind: 'file' | 'folder' | 'other'; readonly size: number } | undefined>;
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
}

export interface LocatedFile {
  /** As given, for messages. */
  readonly path: string;
  readonly text: string;
}

export const ORIGINAL_FILE = '/app/config/models.yaml';
const LARGEST = 1024 * 1024;

interface Candidate {
  readonly path: string;
  /** Who names it, for messages; null = a place that is always looked at. */
  readonly named: string | null;
  /** Absent is a fault. */
  readonly mustExist: boolean;
  /** A folder there was a warning in the original, which then used ALLOWED_MODELS_JSON. */
  readonly folderFalls: boolean;
}

function candidates(flag: string | undefined, env: Environment): readonly Candidate[] {
  if (flag !== undefined && flag !== '')
    return [{ path: flag, named: '--config', mustExist: true, folderFalls: false }];
  const explicit = variable(env, 'GATEWAY_CONFIG_FILE');
  if (explicit !== undefined)
    return [{ path: explicit, named: 'GATEWAY_CONFIG_FILE', mustExist: true, folderFalls: false }];
  const legacy = variable(env, 'MODELS_CONFIG_FILE');
  const places: Candidate[] = [
    { path: 'gateway.yaml', named: null, mustExist: false, folderFalls: false },
    { path: ORIGINAL_FILE, named: null, mustExist: false, folderFalls: true },
  ];
  if (legacy === undefined) return places;
  return [
    { path: legacy, named: 'MODELS_CONFIG_FILE', mustExist: false, folderFalls: true },
    ...places.filter(({ path }) => path !== legacy),
  ];
}

export const absolute = (cwd: string, path: string): string =>
  path.startsWith('/') ? path : `${cwd.replace(/\/$/, '')}/${path}`;

export interface LocateResult {
  readonly file: LocatedFile | undefined;
  /** A file was meant, but cannot be used: nothing else may stand in for it. */
  readonly broken: boolean;
}

export async function locateFile(
  flag: string | undefined,
  env: Environment,
  files: ConfigFiles,
  cwd: string,
  problems: Problems,
): Promise<LocateResult> {
  for (const candidate of candidates(flag, env)) {
    const path = absolute(cwd, candidate.path);
    const text = await readCandidate(candidate, path, files, problems);
    if (text === ABSENT) continue;
    return text === undefined
      ? { file: undefined, broken: true }
      : { file: { path: candidate.path, text }, broken: false };
  }
  return { file: undefined, broken: problems.refused };
}

const ABSENT = Symbol('absent');

function absent(candidate: Candidate, path: string, problems: Problems): typeof ABSENT {
  const { named } = candidate;
  if (named === null) return ABSENT;
  const message = `names ${candidate.path}, which does not exist (looked for ${path})`;
  if (named.startsWith('--'))
    problems.inFlags(named, 'file_not_found', `${message}; give the path of a configuration file`);
  else if (candidate.mustExist)
    problems.inEnvironment('error', named, 'file_not_found', `${message}; create it, or unset ${named}`);
  else {
    // The original's Compose file always sets its own path: there it is the normal case.
    const severity = candidate.path === ORIGINAL_FILE ? 'info' : 'warning';
    problems.inEnvironment(severity, named, 'file_not_found', `${message}; the next place is tried`);
  }
  return ABSENT;
}

/** ABSENT: go on with the next place. Undefined: it is there and cannot be used, which was told. */
async function readCandidate(
  candidate: Candidate,
  path: string,
  files: ConfigFiles,
  problems: Problems,
): Promise<string | typeof ABSENT | undefined> {
  const fault = (code: string, message: string, place?: Place): undefined => {
    problems.atPlace(candidate.path, place, code, message);
    return undefined;
  };
  try {
    const stat = await files.stat(path);
    if (!stat) return absent(candidate, path, problems);
    if (stat.kind === 'folder') {
      const message =
        'is a folder, not a file; Docker creates an empty folder when the file to mount is missing on the host: ' +
        'remove the folder, create the file, and start again';
      if (!candidate.folderFalls) return fault('is_folder', message);
      problems.atPlace(candidate.path, undefined, 'is_folder', `${message}; the next place is tried`, 'warning');
      return ABSENT;
    }
    if (stat.kind === 'other') return fault('not_a_file', 'is not a regular file; allowed: a YAML file');
    const bytes = await readAll(files, path);
    if (bytes === undefined) return fault('too_large', 'is larger than 1MiB; allowed: a YAML file of at most 1MiB');
    const text = decode(bytes);
    if (typeof text === 'string') return text;
    return fault('not_utf8', 'is not UTF-8 text; save it as UTF-8', { line: text.line, column: 1 });
  } catch (error) {
    const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
    const reason = code === 'EACCES' || code === 'EPERM' ? 'permission denied' : code || String(error);
    return fault('unreadable', `cannot be read: ${reason}; check the owner and mode of the file and its folders`);
  }
}

async function readAll(files: ConfigFiles, path: string): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const part = await files.readBytes(path, length, 64 * 1024);
    if (part.length === 0) break;
    parts.push(part);
    length += part.length;
    if (length > LARGEST) return undefined;
  }
  const all = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

/** The text without a byte order mark, or the first line that is not UTF-8. */
function decode(bytes: Uint8Array): string | { readonly line: number } {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Found line by line, so that the message can say where.
    let line = 1;
    let start = 0;
    for (let index = 0; index <= bytes.length; index += 1) {
      if (index < bytes.length && bytes[index] !== 10) continue;
      try {
        new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(start, index));
      } catch {
        return { line };
      }
      line += 1;
      start = index + 1;
    }
    return { line };
  }
}

/** The text of a small file such as a secret; a string says why not. */
export async function readSmallText(files: ConfigFiles, path: string): Promise<{ text: string } | { reason: string }> {
  try {
    const stat = await files.stat(path);
    if (!stat) return { reason: 'does not exist' };
    if (stat.kind !== 'file') return { reason: `is ${stat.kind === 'folder' ? 'a folder' : 'not a regular file'}` };
    const bytes = await files.readBytes(path, 0, 64 * 1024);
    const text = decode(bytes);
    return typeof text === 'string' ? { text } : { reason: 'is not UTF-8 text' };
  } catch (error) {
    const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'unreadable';
    return { reason: `cannot be read: ${code === 'EACCES' ? 'permission denied' : code}` };
  }
}
