/**
 * Repositories on this machine: folders, and the cache that huggingface_hub keeps
 * (`models--ORG--NAME/{refs,snapshots,blobs}`). What cannot be read counts as absent: the engine may see more than we do.
 */
import type { Files } from '../../platform/platform.ts';
import { KIB, MIB, type Bytes } from '../../units.ts';
import type { RepoFacts } from './facts.ts';
import { parseObject, type JsonObject } from './json.ts';
import { quietly } from './quietly.ts';
import { storedElementBytes } from './safetensors-header.ts';
import { bytesOf, INDEX_NAMES, readIndex, selectWeights, type WeightFile, type WeightIndex } from './weight-files.ts';

export interface LocalFacts extends RepoFacts {
  /** All files of the weights are there. */
  readonly complete: boolean;
}

/** The name of a commit. */
const MAX_REF: Bytes = KIB;
const MAX_CONFIG: Bytes = 4 * MIB;
/** The index of the largest models names some hundred thousand tensors. */
const MAX_INDEX: Bytes = 64 * MIB;
const MAX_FOLDERS = 64;

/** Folder of a revision in the cache; null when it is not there. */
export async function snapshotFolder(
  files: Files,
  cacheFolders: readonly string[],
  repo: string,
  revision: string,
): Promise<string | null> {
  for (const cache of cacheFolders) {
    const root = `${cache}/models--${repo.replaceAll('/', '--')}`;
    const commit = (await readBounded(files, `${root}/refs/${revision}`, MAX_REF))?.trim() ?? revision;
    if (!/^[\w.-]+$/.test(commit) || commit === '..' || commit === '.') continue;
    const folder = `${root}/snapshots/${commit}`;
    if ((await quietly(() => files.stat(folder)))?.kind === 'folder') return folder;
  }
  return null;
}

export async function factsOfFolder(files: Files, folder: string, place: string): Promise<LocalFacts> {
  const config = (await readJson(files, `${folder}/config.json`)) ?? (await readJson(files, `${folder}/params.json`));
  const index = await readIndexOf(files, folder);
  const set = selectWeights(await listFiles(files, folder, index), index);
  const bytes = set === null ? null : bytesOf(set.files);
  const complete = set !== null && set.complete && bytes !== null;
  return {
    config,
    quantConfig: await readJson(files, `${folder}/hf_quant_config.json`),
    weights: complete
      ? {
          bytes,
          elementBytes:
            set.format === 'safetensors'
              ? await storedElementBytes(files, `${folder}/${set.files[0]?.name ?? ''}`)
              : null,
          from: `${set.files.length === 1 ? 'one file' : `${set.files.length} files`} ${place}`,
        }
      : null,
    statedBytes: index?.totalSize ?? null,
    complete,
  };
}

/** All files of a folder with their sizes, and those below it that an index names. Links are followed; dead ones left out. */
export async function listFiles(files: Files, folder: string, index: WeightIndex | null): Promise<WeightFile[]> {
  const own = (await quietly(() => files.list(folder))) ?? [];
  const below = (index?.names ?? []).filter((name) => name.includes('/'));
  const found: WeightFile[] = [];
  for (const name of [...own, ...below]) {
    const stat = await quietly(() => files.stat(`${folder}/${name}`));
    if (stat?.kind === 'file') found.push({ name, size: stat.size });
  }
  return found;
}

/** As `listFiles`, with what lies one folder below: where sharded GGUF files are kept. */
export async function listFilesBelow(files: Files, folder: string): Promise<WeightFile[]> {
  const found = await listFiles(files, folder, null);
  const names = ((await quietly(() => files.list(folder))) ?? []).filter(
    (name) => !found.some((file) => file.name === name),
  );
  for (const name of names.slice(0, MAX_FOLDERS)) {
    for (const file of await listFiles(files, `${folder}/${name}`, null)) {
      found.push({ ...file, name: `${name}/${file.name}` });
    }
  }
  return found;
}

async function readIndexOf(files: Files, folder: string): Promise<WeightIndex | null> {
  for (const name of INDEX_NAMES) {
    const text = await readBounded(files, `${folder}/${name}`, MAX_INDEX);
    const index = text === null ? null : readIndex(text);
    if (index !== null) return index;
  }
  return null;
}

async function readJson(files: Files, path: string): Promise<JsonObject | null> {
  const text = await readBounded(files, path, MAX_CONFIG);
  return text === null ? null : parseObject(text);
}

async function readBounded(files: Files, path: string, most: Bytes): Promise<string | null> {
  const stat = await quietly(() => files.stat(path));
  if (stat?.kind !== 'file' || stat.size > most) return null;
  return (await quietly(() => files.readText(path))) ?? null;
}
