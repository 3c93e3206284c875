/** What the version of vLLM in an image makes of a model's settings. */
import type { ModelConfig } from '../config.ts';
import { longFlag } from '../merge-args.ts';
import { ggufProblem, imageVersion, missingFlag, NEWEST_VLLM, versionText } from '../vllm-versions.ts';
import { boundKeys } from '../environment.ts';
import { pathText } from '../schema/spelling.ts';
import { complain, isWritten, type CheckInput } from './check-input.ts';

export function checkVersions(input: CheckInput): void {
  const told = new Set<string>();
  for (const model of input.config.models.values()) {
    checkGgufName(input, model);
    if (model.driver !== 'docker' || model.engine !== 'vllm') continue;
    const image = model.image ?? input.config.drivers.docker.image;
    const version = imageVersion(image);
    if (version === null) {
      if (!told.has(image)) noteUnknown(input, model, image);
      told.add(image);
      continue;
    }
    checkFlags(input, model, version);
    const problem = namesGguf(model.repo) ? ggufProblem(version, /\.gguf$/i.test(model.repo)) : null;
    if (problem !== null) complain(input, 'warning', model.name, ['repo'], 'unsupported', problem);
  }
}

/** A repository of GGUF files is many models, one per quantisation. */
function checkGgufName(input: CheckInput, model: ModelConfig): void {
  if (model.engine !== 'vllm' || model.driver === 'external' || !/^[\w.-]+\/[\w.-]+[-_]gguf$/i.test(model.repo)) return;
  const message = `vLLM loads one quantisation of a GGUF repository; name it, as in ${model.repo}:Q4_K_M`;
  complain(input, 'warning', model.name, ['repo'], 'unsupported', message);
}

/** As a repo names GGUF: a file of that kind, or a quantisation behind the name of a repository. */
export function namesGguf(repo: string): boolean {
  return /\.gguf$/i.test(repo) || /gguf[^/]*:[\w-]+$/i.test(repo);
}

function checkFlags(input: CheckInput, model: ModelConfig, version: number): void {
  model.extraArgs.forEach((argument, index) => {
    const flag = longFlag(argument);
    const problem = flag === null ? null : missingFlag(version, flag);
    if (problem === null) return;
    complain(input, 'warning', model.name, ['extra_args', index], 'unknown_flag', `${problem}; its start would fail`);
  });
}

function noteUnknown(input: CheckInput, model: ModelConfig, image: string): void {
  const message = `the tag of ${image} names no version of vLLM; it is passed the flags of ${versionText(NEWEST_VLLM)}, the newest that is known here`;
  const own = isWritten(input, ['models', model.name, 'image']) || isWritten(input, ['defaults', 'image']);
  const path = own ? ['models', model.name, 'image'] : ['drivers', 'docker', 'image'];
  const bound = boundKeys.find((entry) => pathText(entry.path) === 'drivers.docker.image');
  const variable = own || bound === undefined ? undefined : input.environment.get(bound.key)?.variable;
  if (variable !== undefined) input.problems.inEnvironment('info', variable, 'unknown_version', message);
  else input.problems.inFile('info', path, 'unknown_version', message, [['defaults', 'image']]);
}
