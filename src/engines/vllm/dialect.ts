/** Which version of vLLM will read the flags. */
import { imageVersion, NEWEST_VLLM, parseVllmVersion, type VllmDialect } from '../../config/vllm-versions.ts';
import type { LaunchContext } from '../engine.ts';

/** The word in a configuration that stands for the simulated engine, and the file that it runs. */
const SIMULATED = /^simulated-vllm$|(?:^|\/)fake-vllm\/main\.[jt]s$/;

/** A command that runs the simulated engine: it has the flags of the newest version, and no files to fetch. */
export function isSimulatedCommand(command: readonly string[]): boolean {
  return command.some((word) => SIMULATED.test(word));
}

/**
 * An image says its version by its tag, else it is taken for the newest known. Of a process it is known only after a start;
 * before that it gets the flags that all versions have.
 */
export function dialectOf(context: Pick<LaunchContext, 'model' | 'command' | 'image' | 'version'>): VllmDialect {
  const said = typeof context.version === 'string' ? parseVllmVersion(context.version) : null;
  if (context.image !== null) {
    return { kind: 'version', version: imageVersion(context.image) ?? said ?? NEWEST_VLLM };
  }
  if (said !== null) return { kind: 'version', version: said };
  const simulated = isSimulatedCommand(context.model.command ?? context.command);
  return simulated ? { kind: 'version', version: NEWEST_VLLM } : { kind: 'common' };
}
