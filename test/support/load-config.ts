import { loadConfig, type LoadInput, type LoadResult } from '../../src/config/load.ts';
import type { ConfigFiles } from '../../src/config/locate.ts';
import { renderProblem } from '../../src/config/problems.ts';

/** What stands at a path: text, bytes, something that is no file, or the error code that reading it gives. */
export type FileContent = string | Uint8Array | { readonly kind: 'folder' | 'other' } | { readonly code: string };

const failure = (code: string): Error => Object.assign(new Error(code), { code });

/** Files in memory with absolute paths. */
export function memoryFiles(contents: Readonly<Record<string, FileContent>>): ConfigFiles {
  const bytesOf = (path: string): Uint8Array => {
    const content = contents[path];
    if (content === undefined) throw failure('ENOENT');
    if (typeof content === 'string') return new TextEncoder().encode(content);
    if (content instanceof Uint8Array) return content;
    throw failure('code' in content ? content.code : 'EISDIR');
  };
  return {
    stat: (path) => {
      const content = contents[path];
      if (content === undefined) return Promise.resolve(undefined);
      if (typeof content === 'object' && 'kind' in content) return Promise.resolve({ kind: content.kind, size: 0 });
      return Promise.resolve({ kind: 'file', size: 0 });
    },
    // A promise's executor turns what is thrown into a rejection, as the platform's own files do.
    readBytes: (path, offset, length) =>
      new Promise((resolve) => resolve(bytesOf(path).subarray(offset, offset + length))),
  };
}

export const FILE = 'gateway.yaml';

export interface Loaded extends LoadResult {
  /** `error gateway.yaml:1:2: path: message`, one per problem. */
  readonly lines: readonly string[];
}

export type Situation = Partial<Omit<LoadInput, 'files'>> & { readonly files?: Readonly<Record<string, FileContent>> };

/** Loads `yaml` as ./gateway.yaml; undefined = there is no such file. */
export async function load(yaml: FileContent | undefined, situation: Situation = {}): Promise<Loaded> {
  const { files = {}, ...input } = situation;
  const all = yaml === undefined ? files : { ...files, [`/work-folder/${FILE}`]: yaml };
  const result = await loadConfig({ flags: {}, env: {}, cwd: '/work-folder', ...input, files: memoryFiles(all) });
  return { ...result, lines: result.problems.map((problem) => `${problem.severity} ${renderProblem(problem)}`) };
}

/** One model that needs nothing else, on no devices. */
export const MODEL = 'models: { m: { repo: a/b, url: "http://127.0.0.1:8000" } }';
