/** What models still need: the command or cache of their engines, files on this disk, and a hub that gives them. */
import type { Config, ModelConfig } from '../config/config.ts';
import { flagValue } from '../config/merge-args.ts';
import type { ModelSize } from '../core/memory/model-shape.ts';
import { createModelFiles, modelFilesOptions } from '../engines/registry.ts';
import type { Machine } from '../platform/machine.ts';
import type { HttpAnswer, Platform } from '../platform/platform.ts';
import { SIMULATED_ENGINE } from '../proxy-settings.ts';
import { formatSize, GIB, SECOND, type Bytes, type Milliseconds } from '../units.ts';
import { codeOf, findingsOf, type Finding } from './finding.ts';
import { spaceAt, whyNotWritable } from './storage-checks.ts';

/** For all models together: a hub that does not answer must not hold up the rest. */
const LOOK_LIMIT: Milliseconds = 20 * SECOND;
const HUB_LIMIT: Milliseconds = 8 * SECOND;
/** Kept free beside the files: a disk that is full to the brim stops more than this. */
const SPARE: Bytes = 2 * GIB;
const UNAUTHORIZED = 401;

interface Missing {
  readonly model: ModelConfig;
  readonly size: ModelSize;
}

/** A model whose files an engine fetches from a hub. */
const isFetched = (config: Config, model: ModelConfig): boolean =>
  model.driver !== 'external' &&
  model.engine === 'vllm' &&
  !commandOf(config, model).includes(SIMULATED_ENGINE) &&
  !/^(?:\/|\.{1,2}\/|~\/)/.test(model.repo);

function commandOf({ drivers }: Config, { command, driver }: ModelConfig): readonly string[] {
  return driver === 'process' ? (command ?? drivers.process.command) : [];
}

/** Which commands start engines, and are they there. */
export async function checkCommands(config: Config, platform: Platform, machine: Machine): Promise<readonly Finding[]> {
  const { ok, problem } = findingsOf('command');
  const commands = new Set(
    [...config.models.values()].flatMap((model) => commandOf(config, model)[0] ?? []).filter((word) => word !== ''),
  );
  return Promise.all(
    [...commands].map(async (word) => {
      if (word === SIMULATED_ENGINE) return ok(`${word} is part of the gateway; its answers are made up.`);
      const found = await machine.findCommand(word, platform.env['PATH'] ?? '');
      if (found !== null) return ok(`${word} is ${found}.`);
      const install = word === 'vllm' ? 'Install vLLM (pip install vllm) or give' : 'Install it, or give';
      return problem(
        `There is no command ${word} that could be run.`,
        `${install} the full path in drivers.process.command or the model's command.`,
      );
    }),
  );
}

/** The cache, the files that are missing, and whether they can be had and kept. */
export async function checkModels(config: Config, platform: Platform, machine: Machine): Promise<readonly Finding[]> {
  const cacheFinding = findingsOf('model cache');
  const fetched = [...config.models.values()].filter((model) => isFetched(config, model));
  if (fetched.length === 0) return [cacheFinding.ok('No model of this configuration is fetched from a hub.')];
  const options = modelFilesOptions(platform, { cacheDir: config.drivers.docker.cacheDir, stateDir: null });
  const files = createModelFiles(options);
  const limit = new AbortController();
  using _limit = platform.clock.after(LOOK_LIMIT, () => limit.abort());
  const looks = await Promise.all(
    fetched.map(async (model): Promise<Missing | null> => {
      const revision = flagValue(model.extraArgs, '--revision');
      if (await files.isCached(model.repo, revision)) return null;
      const { quantization, dtype } = model;
      return { model, size: await files.size(model.repo, { quantization, dtype, revision }, limit.signal) };
    }),
  );
  const missing = looks.filter((look) => look !== null);
  const here = fetched.length - missing.length;
  const findings: Finding[] = [];
  for (const driver of ['docker', 'process'] as const) {
    const own = missing.filter(({ model }) => model.driver === driver);
    if (!fetched.some((model) => model.driver === driver)) continue;
    const folder = driver === 'docker' ? config.drivers.docker.cacheDir : (options.cacheFolders[0] ?? '');
    findings.push(await checkCache(folder, driver, own, machine));
  }
  if (here > 0) findings.push(findingsOf('models').ok(`${here} of ${fetched.length} are complete in the cache.`));
  return [...findings, ...missing.flatMap((look) => toldOf(look, options.offline))];
}

async function checkCache(
  folder: string,
  driver: 'docker' | 'process',
  missing: readonly Missing[],
  machine: Machine,
): Promise<Finding> {
  const { ok, problem, unknown } = findingsOf('model cache');
  const setting = driver === 'docker' ? 'drivers.docker.cache_dir' : 'HF_HOME (environment, or env of the model)';
  const space = await spaceAt(machine, folder);
  if (space === undefined) return unknown(`The cache ${folder} cannot be looked at.`);
  // Containers write as the daemon mounts it: only a folder of this process's own engines must be ours.
  const wrong = driver === 'process' ? await whyNotWritable(folder, setting, machine) : null;
  if (wrong !== null) return { ...wrong, check: 'model cache' };
  const known = missing.flatMap(({ size }) => (size.kind === 'shape' ? (size.shape.weightBytes ?? []) : []));
  const needed = known.reduce((total, bytes) => total + bytes, 0);
  const free = `${formatSize(space.freeBytes)} free for ${folder}`;
  const names = missing.map(({ model }) => model.name).join(', ');
  if (space.freeBytes < needed + Math.min(SPARE, space.totalBytes / 2)) {
    const lacks = missing.length === 0 ? 'engines write there too' : `${names} still need ${formatSize(needed)}`;
    return problem(
      `The disk of the model cache is too full: ${free}, and ${lacks}.`,
      `Free some (\`hf cache rm\` removes models that nobody uses), or move the cache to a larger disk with ${setting}.`,
    );
  }
  if (missing.length === 0) return ok(`${free}; nothing is missing.`);
  const unsized = known.length < missing.length ? ' and some of unknown size' : '';
  const sized = known.length === 0 ? 'of unknown size' : `${formatSize(needed)}${unsized}`;
  return ok(`${free}; still to be fetched: ${names} (${sized}).`);
}

function toldOf({ model, size }: Missing, offline: boolean): readonly Finding[] {
  if (size.kind === 'shape') return [];
  const { problem, unknown } = findingsOf('models');
  const told = `${model.name}: ${size.reason}.`;
  if (offline) return [problem(told, 'Fetch it where there is a network (`hf download`), or unset HF_HUB_OFFLINE.')];
  if (/licence|token/.test(size.reason))
    return [problem(told, `Set HF_TOKEN to a token that may read ${model.repo}, and accept its licence on its page.`)];
  if (/has no model/.test(size.reason)) return [problem(told, `Correct repo of ${model.name}, or set HF_TOKEN.`)];
  return [unknown(told, 'Its size is learned at its first start; `memory` declares it.')];
}

/** Reachability of the hub, the token, and how far the clocks are apart. */
export async function checkHub(config: Config, platform: Platform): Promise<readonly Finding[]> {
  const { ok, problem, unknown } = findingsOf('hub');
  const clock = findingsOf('clock');
  const unread = clock.unknown('Nothing could be asked for the time.');
  const options = modelFilesOptions(platform, { cacheDir: null, stateDir: null });
  if (options.offline) return [ok('It is not asked for anything (HF_HUB_OFFLINE).'), unread];
  const files = createModelFiles(
    modelFilesOptions(platform, { cacheDir: config.drivers.docker.cacheDir, stateDir: null }),
  );
  const fetched = [...config.models.values()].filter((model) => isFetched(config, model));
  const here = await Promise.all(
    fetched.map(({ repo, extraArgs }) => files.isCached(repo, flagValue(extraArgs, '--revision'))),
  );
  const needed = here.includes(false);
  const fromFile = options.tokenFile ? await platform.files.readText(options.tokenFile).catch(() => undefined) : '';
  const token = options.token ?? (fromFile?.trim() || null);
  const path = token === null ? '/api/models?limit=1' : '/api/whoami-v2';
  let answer: HttpAnswer;
  try {
    const headers = { 'user-agent': 'vllm-gateway', ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
    answer = await platform.http.get(`${options.hub}${path}`, { timeout: HUB_LIMIT, outside: true, headers });
  } catch (error) {
    const told = `${options.hub} cannot be reached (${codeOf(error)}).`;
    const remedy =
      'Check the network and the proxy (HTTPS_PROXY), name a mirror with HF_ENDPOINT, or set HF_HUB_OFFLINE=1 where all models are in the cache.';
    return [needed ? problem(told, remedy) : unknown(told, remedy), unread];
  }
  const skew = checkClock(answer, platform, options.hub);
  if (token !== null && answer.status === UNAUTHORIZED) {
    const remedy = 'Set HF_TOKEN to a valid one (or unset it); gated models need it.';
    return [problem(`${options.hub} answers, and does not take the token.`, remedy), skew];
  }
  const how = token === null ? 'without a token (HF_TOKEN): gated models cannot be fetched' : 'and takes the token';
  return [ok(`${options.hub} answers, ${how}.`), skew];
}

/** Certificates and signatures are refused beyond this. */
const MOST_SKEW: Milliseconds = 120 * SECOND;

function checkClock(answer: HttpAnswer, platform: Platform, from: string): Finding {
  const { ok, problem, unknown } = findingsOf('clock');
  const theirs = Date.parse(answer.headers?.['date'] ?? '');
  if (Number.isNaN(theirs)) return unknown(`${from} does not tell the time.`);
  const apart = platform.clock.wall() - theirs;
  const seconds = Math.round(Math.abs(apart) / SECOND);
  if (Math.abs(apart) <= MOST_SKEW) return ok('It agrees with that of the hub.');
  return problem(
    `The clock is ${seconds} s ${apart > 0 ? 'ahead of' : 'behind'} that of the hub.`,
    'Set it (timedatectl set-ntp true): certificates and keys are judged by it.',
  );
}
