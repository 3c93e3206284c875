/** The built-in word `simulated-vllm` stands for the simulated engine that is part of this package. */

export const SIMULATED_ENGINE = 'simulated-vllm';

const ENTRY = 'tools/fake-vllm/main.js';

/** Runs the same from `src/` (after a build) and from `dist/src/`, where the installed package has it. */
export function resolveCommand(argv: readonly string[], executable: string, from: string = import.meta.url): string[] {
  const [word, ...rest] = argv;
  if (word !== SIMULATED_ENGINE) return [...argv];
  const root = new URL('../../..', from);
  const entry = from.endsWith('.ts') ? new URL(`dist/${ENTRY}`, root) : new URL(ENTRY, root);
  return [executable, decodeURIComponent(entry.pathname), ...rest];
}
