/** Where huggingface_hub looks and whom it asks, from the variables that it reads itself. */
import type { Platform } from '../../platform/platform.ts';
import type { ModelFilesOptions } from './model-files.ts';

export interface ModelFilesPlaces {
  /** `drivers.docker.cache_dir`: what containers see as the cache; null = none. */
  readonly cacheDir: string | null;
  readonly stateDir: string | null;
}

const DEFAULT_HUB = 'https://huggingface.co';
const TRUE = /^(?:1|true|yes|on)$/i;

export function modelFilesOptions(platform: Platform, places: ModelFilesPlaces): ModelFilesOptions {
  const value = (name: string): string | null => {
    const text = platform.env[name]?.trim();
    return text === undefined || text === '' ? null : text;
  };
  const home = value('HOME');
  const inHome = (path: string): string | null => {
    if (!path.startsWith('~/')) return path;
    return home === null ? null : `${home}/${path.slice(2)}`;
  };
  const base = withoutSlash(value('HF_HOME') ?? `${value('XDG_CACHE_HOME') ?? '~/.cache'}/huggingface`);
  const cache = value('HF_HUB_CACHE') ?? value('HUGGINGFACE_HUB_CACHE') ?? `${base}/hub`;
  const folders = [cache, ...(places.cacheDir === null ? [] : [`${places.cacheDir}/hub`, places.cacheDir])];
  return {
    platform,
    hub: (value('HF_ENDPOINT') ?? DEFAULT_HUB).replace(/\/+$/, ''),
    cacheFolders: [...new Set(folders.flatMap((folder) => inHome(withoutSlash(folder)) ?? []))],
    token: value('HF_TOKEN') ?? value('HUGGING_FACE_HUB_TOKEN'),
    tokenFile: inHome(value('HF_TOKEN_PATH') ?? `${base}/token`),
    offline: [value('HF_HUB_OFFLINE'), value('TRANSFORMERS_OFFLINE')].some((text) => text !== null && TRUE.test(text)),
    stateDir: places.stateDir,
  };
}

const withoutSlash = (path: string): string => path.replace(/(?<=.)\/+$/, '');
