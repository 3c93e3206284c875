/**
 * `search.ts WORLD SEED...` or `search.ts WORLD FIRST-LAST`: runs seeds until one breaks a promise. Tells of each seed before it
 * begins, so that whoever waits knows where a program is that does not come back. One JSON value a line.
 */
import { receiveMessageOnPort } from 'node:worker_threads';
import type { Find, World } from './canary.ts';
import { planted } from './plant.mjs';

export type SearchReport =
  | { readonly kind: 'seed'; readonly seed: number }
  | { readonly kind: 'found'; readonly find: Find }
  | { readonly kind: 'clean' }
  /** The file with the bug was never loaded: nothing was searched. */
  | { readonly kind: 'unplanted' };

type RunSeed = (seed: number) => Promise<{ readonly id: string; readonly message: string } | null>;

const tell = (report: SearchReport): void => void process.stdout.write(`${JSON.stringify(report)}\n`);

async function worldOf(world: World): Promise<RunSeed> {
  if (world === 'shell') {
    const { runShellSeed } = await import('../simulation/shell/run-shell-seed.ts');
    return async (seed) => (await runShellSeed(seed)).failure;
  }
  const { generate } = await import('../simulation/generate.ts');
  const { runScenario } = await import('../simulation/run-scenario.ts');
  return (seed) => Promise.resolve(runScenario(generate(seed)).failure?.violation ?? null);
}

function* seedsOf(words: readonly string[]): Generator<number> {
  for (const word of words) {
    const [first = 0, last = first] = word.split('-').map(Number);
    for (let seed = first; seed <= last; seed += 1) yield seed;
  }
}

const [world, ...words] = process.argv.slice(2);
const runSeed = await worldOf(world === 'shell' ? 'shell' : 'core');
const isPlanted = process.env['VLLM_GATEWAY_CANARY'] !== undefined;
if (isPlanted && !receiveMessageOnPort(planted)) {
  tell({ kind: 'unplanted' });
  process.exit(1);
}
for (const seed of seedsOf(words)) {
  tell({ kind: 'seed', seed });
  const failure = await runSeed(seed);
  if (!failure) continue;
  tell({ kind: 'found', find: { seed, violated: failure.id, message: failure.message.split('\n')[0] ?? '' } });
  process.exit(0);
}
tell({ kind: 'clean' });
process.exit(0);
