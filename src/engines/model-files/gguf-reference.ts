/** Names of GGUF models: `org/name:Q4_K_M`, `org/name-GGUF`, `org/name/file.gguf`, a path or an address of a file. */
import { parseUrl } from './hub-client.ts';

export interface GgufReference {
  readonly kind: 'repo' | 'file' | 'url';
  /** `org/name`; of a file its path, of an address the address. */
  readonly repo: string;
  /** As in the name of the file: `Q4_K_M`; null = none was named. */
  readonly quant: string | null;
  /** File of the repository when one was named. */
  readonly file: string | null;
}

const QUANT = '(?:UD-)?(?:I?Q\\d(?:_[A-Z0-9]+)*|TQ\\d_\\d|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32|FP16)';
const QUANT_ALONE = new RegExp(`^${QUANT}$`, 'i');
/** Behind a separator and before the shard number or the end. */
const QUANT_IN_FILE = new RegExp(`(?:^|[-._/])(${QUANT})(?:-\\d{5}-of-\\d{5})?\\.gguf$`, 'i');
const SHARD = /-(\d{5})-of-(\d{5})\.gguf$/i;
const REPO = /^[\w.-]+\/[\w.-]+$/;

/** Null = an ordinary model, whatever letters its name holds. */
export function ggufOf(repo: string): GgufReference | null {
  if (/^https?:\/\//i.test(repo))
    return isGgufUrl(repo) ? { kind: 'url', repo, quant: quantOfFile(repo), file: null } : null;
  const colon = repo.lastIndexOf(':');
  const [base, quant] = colon > 0 ? [repo.slice(0, colon), repo.slice(colon + 1)] : [repo, null];
  if (quant !== null && QUANT_ALONE.test(quant) && REPO.test(base))
    return { kind: 'repo', repo: base, quant, file: null };
  if (/\.gguf$/i.test(repo)) return fileReference(repo);
  if (quant === null && REPO.test(repo) && /[-_.]gguf$/i.test(repo))
    return { kind: 'repo', repo, quant: null, file: null };
  return null;
}

function fileReference(path: string): GgufReference {
  const [org, name, ...rest] = path.split('/');
  const inRepo = rest.length > 0 && REPO.test(`${org ?? ''}/${name ?? ''}`) && org !== '.' && org !== '..';
  const quant = quantOfFile(path);
  return inRepo
    ? { kind: 'repo', repo: `${org}/${name}`, quant, file: rest.join('/') }
    : { kind: 'file', repo: path, quant, file: null };
}

function isGgufUrl(text: string): boolean {
  const url = parseUrl(text);
  return url !== null && /\.gguf$/i.test(url.pathname);
}

export function quantOfFile(name: string): string | null {
  return QUANT_IN_FILE.exec(name)?.[1] ?? null;
}

/** A projector for images: part of a model, never the model. */
const isProjector = (name: string): boolean => /(?:^|[-._/])mmproj(?:[-._]|$)/i.test(name);

export type GgufChoice<File> =
  | { readonly kind: 'chosen'; /** All shards, first one first. */ readonly files: readonly File[] }
  | { readonly kind: 'none'; readonly reason: string };

/** The files of exactly this quantisation; with none named, the only model there is. */
export function chooseGguf<File extends { readonly name: string }>(
  all: readonly File[],
  { repo, quant, file }: GgufReference,
): GgufChoice<File> {
  const models = modelsOf(all);
  const offered = [...new Set([...models.keys()].map((stem) => quantOfFile(`${stem}.gguf`) ?? baseName(stem)))];
  const wanted = [...models].filter(([stem]) =>
    file !== null
      ? stem === stemOf(file)
      : quant === null || quantOfFile(`${stem}.gguf`)?.toLowerCase() === quant.toLowerCase(),
  );
  const asked = file ?? quant ?? 'GGUF model';
  if (wanted.length === 0)
    return none(`${repo} has no ${asked}${offered.length > 0 ? `: it has ${list(offered)}` : ''}`);
  const [only] = wanted;
  if (wanted.length > 1 || only === undefined) {
    const names = quant === null ? offered : wanted.map(([stem]) => baseName(stem));
    return none(`${repo} has several: name one of ${list(names)}${quant === null ? `, as ${repo}:QUANT` : ''}`);
  }
  const files = only[1].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const promised = Number(SHARD.exec(files[0]?.name ?? '')?.[2] ?? 1);
  return files.length === promised
    ? { kind: 'chosen', files }
    : none(`${repo} lacks some of the ${promised} files of ${asked}`);
}

/** Files that are one model together, by their name without the shard number. */
function modelsOf<File extends { readonly name: string }>(all: readonly File[]): Map<string, File[]> {
  const models = new Map<string, File[]>();
  for (const file of all) {
    if (!/\.gguf$/i.test(file.name) || isProjector(file.name)) continue;
    const stem = stemOf(file.name);
    const shards = models.get(stem);
    if (shards === undefined) models.set(stem, [file]);
    else shards.push(file);
  }
  return models;
}

const stemOf = (name: string): string => name.replace(SHARD, '').replace(/\.gguf$/i, '');
const baseName = (stem: string): string => stem.slice(stem.lastIndexOf('/') + 1);

const MOST_LISTED = 20;
function list(names: readonly string[]): string {
  const shown = names.slice(0, MOST_LISTED).join(', ');
  return names.length > MOST_LISTED ? `${shown}, …` : shown;
}

function none(reason: string): { readonly kind: 'none'; readonly reason: string } {
  return { kind: 'none', reason };
}

/** Repositories that may hold the tokenizer of a GGUF repository, by the name alone: to be looked for, not believed. */
export function baseNames(repo: string): string[] {
  const [org, name] = repo.split('/');
  if (org === undefined || name === undefined) return [];
  const plain = name.replace(/[-_.]gguf$/i, '');
  const bare = plain.replace(new RegExp(`(?:[-_.](?:i1|imatrix|qat|int[48]|${QUANT}))+$`, 'i'), '');
  return [...new Set([bare, plain])].filter((base) => base !== '' && base !== name).map((base) => `${org}/${base}`);
}
