/** `doctor`: everything that a gateway with this configuration depends on, looked at from here. Changes nothing. */
import type { Config, ConfigProblem } from '../config/config.ts';
import type { LoadResult } from '../config/load.ts';
import { renderProblem } from '../config/problems.ts';
import type { Machine } from '../platform/machine.ts';
import type { Platform } from '../platform/platform.ts';
import { checkDocker } from './docker-checks.ts';
import { codeOf, findingsOf, type Finding } from './finding.ts';
import { standIn } from './stand-in.ts';
import { checkGpus, probeOf } from './gpu-checks.ts';
import { checkFiles, checkPorts, checkWorkers } from './limit-checks.ts';
import { checkCommands, checkHub, checkModels } from './model-checks.ts';
import { checkDisk, checkSharedMemory, checkStateDir } from './storage-checks.ts';

export interface Examination {
  readonly platform: Platform;
  readonly machine: Machine;
}

type Looks = readonly (readonly [string, () => Promise<Finding | readonly Finding[]>])[];

/** Never rejects: what cannot be looked at is a finding too. */
export async function examine(loaded: LoadResult, { platform, machine }: Examination): Promise<readonly Finding[]> {
  const own = configFindings(loaded);
  const { config } = loaded;
  const looked = config ?? (await standIn(platform));
  if (looked === null) {
    const { unknown } = findingsOf('machine');
    return [...own, unknown('The rest follows from the configuration, which cannot be used.', 'Correct it first.')];
  }
  const looks = looksOf(looked, platform, machine).filter(([check]) => config !== null || !OF_MODELS.has(check));
  const found = await Promise.all(looks.map(([check, look]) => safely(check, look)));
  return [...own, ...found.flat()];
}

const OF_MODELS: ReadonlySet<string> = new Set(['command', 'models']);

function looksOf(config: Config, platform: Platform, machine: Machine): Looks {
  return [
    ['docker', () => checkDocker(config, machine)],
    ['gpus', () => checkGpus(config, probeOf(config, platform))],
    ['command', () => checkCommands(config, platform, machine)],
    ['models', () => checkModels(config, platform, machine)],
    ['hub', () => checkHub(config, platform)],
    ['state_dir', () => checkStateDir(config, machine)],
    ['disk', () => checkDisk(config, machine)],
    ['shared memory', () => checkSharedMemory(config, machine)],
    ['port', () => checkPorts(config, platform)],
    ['workers', async () => checkWorkers(config, platform)],
    ['open files', () => checkFiles(config, platform)],
  ];
}

async function safely(check: string, look: () => Promise<Finding | readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return [await look()].flat();
  } catch (error) {
    return [findingsOf(check).unknown(`It could not be looked at (${codeOf(error)}).`)];
  }
}

const CONFIG_REMEDIES: Readonly<Record<string, string>> = {
  no_models: 'Write a configuration with `vllm-gateway init`, or name yours with --config.',
};

function configFindings({ config, problems, strict }: LoadResult): readonly Finding[] {
  const { ok, problem } = findingsOf('config');
  const wrong = problems.filter(({ severity }) => severity === 'error' || (strict && severity === 'warning'));
  if (wrong.length > 0) {
    return wrong.map((found: ConfigProblem) =>
      problem(renderProblem(found), CONFIG_REMEDIES[found.code] ?? 'Correct it there; `vllm-gateway check` shows all.'),
    );
  }
  const source = config?.source ?? 'the environment';
  const models = config?.models.size ?? 0;
  const warnings = problems.filter(({ severity }) => severity === 'warning').length;
  const told = `${source} is valid and names ${models} model${models === 1 ? '' : 's'}`;
  if (warnings === 0) return [ok(`${told}.`)];
  return [ok(`${told}; ${warnings} warning${warnings === 1 ? '' : 's'}.`, '`vllm-gateway check` shows them.')];
}
