import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { renderProblem } from '../../src/config/problems.ts';
import { MemoryFiles } from './memory-files.ts';
import { VirtualClock } from './virtual-clock.ts';

/** The configuration that a file of this text and these variables make; throws its problems when they make none. */
export async function configOf(yaml: string, env: Readonly<Record<string, string>> = {}): Promise<Config> {
  const files = new MemoryFiles(new VirtualClock());
  await files.writeAtomic('/etc/gateway.yaml', yaml);
  const { config, problems } = await loadConfig({ flags: { config: '/etc/gateway.yaml' }, env, files, cwd: '/' });
  if (!config) throw new Error(problems.map(renderProblem).join('\n'));
  return config;
}
