import type { Config, ModelConfig, Severity } from '../config.ts';
import type { EnvironmentValues } from '../environment.ts';
import type { Environment } from '../interpolate.ts';
import type { FilePlaces, Path, Problems } from '../problems.ts';
import type { WrittenFile } from '../schema/file.ts';
import { LEGACY_VARIABLE } from '../legacy-models.ts';

/** What the checks of the whole look at: what holds, and what was written where. */
export interface CheckInput {
  readonly config: Omit<Config, 'problems'>;
  readonly written: WrittenFile;
  /** Undefined when models come from the environment. */
  readonly file: FilePlaces | undefined;
  readonly env: Environment;
  readonly environment: EnvironmentValues;
  /** The operating system, as Node names it; undefined = one that can do everything. */
  readonly system: string | undefined;
  /** --listen was given. */
  readonly flagged: boolean;
  readonly problems: Problems;
}

export const isWritten = (input: CheckInput, path: Path): boolean => input.file?.place(path, 'key') !== undefined;

/** A problem of a model's key: told where it is written, be it in the model or in `defaults`. */
export function complain(
  input: CheckInput,
  severity: Severity,
  model: string,
  key: Path,
  code: string,
  message: string,
): void {
  const { problems, file } = input;
  if (!file) {
    problems.inEnvironment(severity, LEGACY_VARIABLE, code, `model "${model}": ${key.join('.')}: ${message}`);
    return;
  }
  problems.inFile(severity, ['models', model, ...key], code, message, [
    ['defaults', ...key],
    ['models', model],
  ]);
}

/** Engines of this model hold memory of devices. */
export const takesMemory = (model: ModelConfig): boolean => model.driver !== 'external';

/** The devices are known from the configuration alone. */
export const listsDevices = (input: CheckInput): boolean =>
  input.config.devices.probe === 'static' || input.config.devices.probe === 'simulated';
