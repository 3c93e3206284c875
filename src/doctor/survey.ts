/** `init`: what this machine has to serve models with. */
import type { Config } from '../config/config.ts';
import { createModelFiles, modelFilesOptions } from '../engines/registry.ts';
import type { Platform } from '../platform/platform.ts';
import type { Bytes } from '../units.ts';
import { isFinding, lookForDaemon } from './docker-checks.ts';
import type { Examination } from './examine.ts';
import { probeOf } from './gpu-checks.ts';
import { standIn } from './stand-in.ts';

export interface SurveyedGpu {
  readonly uuid: string | null;
  readonly name: string;
  readonly totalBytes: Bytes;
}

export interface CachedModel {
  readonly repo: string;
  /** As loaded; null = not known. */
  readonly weightBytes: Bytes | null;
  readonly nativeLength: number | null;
}

export interface Survey {
  readonly gpus: readonly SurveyedGpu[];
  /** Why there are none; null = there are. */
  readonly gpuNote: string | null;
  /** Null = it answers; else why not. */
  readonly dockerTrouble: string | null;
  /** Path of `vllm`; null = it is not on PATH. */
  readonly vllm: string | null;
  /** Complete models in the local cache that vLLM could serve. */
  readonly cached: readonly CachedModel[];
}

const FOLDER = 'models--';
/** More than anybody reads in a configuration. */
const MOST_CACHED = 20;

export async function surveyMachine({ platform, machine }: Examination): Promise<Survey> {
  // An environment that is wrong is for `check` to tell; the machine is looked at as if it said nothing.
  const env = { HOME: platform.env['HOME'], PATH: platform.env['PATH'] };
  const defaults = (await standIn(platform)) ?? (await standIn({ env }));
  if (defaults === null) throw new Error('the built-in defaults are not valid');
  const [gpus, daemon, vllm, cached] = await Promise.all([
    readGpus(defaults, platform),
    lookForDaemon(defaults.drivers.docker, machine),
    machine.findCommand('vllm', platform.env['PATH'] ?? ''),
    cachedModels(defaults, platform),
  ]);
  return { ...gpus, dockerTrouble: isFinding(daemon) ? daemon.message : null, vllm, cached };
}

/** With nvidia-smi alone: a helper container is nothing that a look around should start. */
async function readGpus(defaults: Config, platform: Platform): Promise<Pick<Survey, 'gpus' | 'gpuNote'>> {
  const probe = probeOf(defaults, platform, 'nvidia-smi');
  try {
    const { devices } = await probe.read();
    const gpus = devices.map(({ uuid, name, totalBytes }) => ({ uuid, name: name ?? 'GPU', totalBytes }));
    return { gpus, gpuNote: gpus.length === 0 ? 'nvidia-smi lists none' : null };
  } catch (error) {
    return { gpus: [], gpuNote: error instanceof Error ? error.message : String(error) };
  } finally {
    await probe.close();
  }
}

async function cachedModels(defaults: Config, platform: Platform): Promise<readonly CachedModel[]> {
  const places = modelFilesOptions(platform, { cacheDir: defaults.drivers.docker.cacheDir, stateDir: null });
  const files = createModelFiles({ ...places, offline: true });
  const listed = await Promise.all(
    places.cacheFolders.map((folder) => platform.files.list(folder).catch((): readonly string[] => [])),
  );
  const repos = new Set(
    listed.flat().flatMap((name) => (name.startsWith(FOLDER) ? [name.slice(FOLDER.length).replaceAll('--', '/')] : [])),
  );
  const found: CachedModel[] = [];
  for (const repo of repos) {
    if (found.length === MOST_CACHED) break;
    if (!(await files.isCached(repo))) continue;
    const size = await files.size(repo, { quantization: null, dtype: 'auto' });
    // What has no layers that keep keys and values is no language model.
    if (size.kind !== 'shape' || size.shape.kv.length === 0) continue;
    found.push({ repo, weightBytes: size.shape.weightBytes, nativeLength: size.shape.nativeLength });
  }
  return found;
}
