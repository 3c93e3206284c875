/** Looks for one planted bug: a child process that runs seeds, watched from outside, because a bug may never come back. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import type { Canary, Find, World } from './canary.ts';
import type { SearchReport } from './search.ts';

export interface Hunt {
  readonly world: World;
  /** As the words of `search.ts`: `17`, `1-2000`. */
  readonly seeds: readonly string[];
  /** Null = the program as it is. */
  readonly canary: Canary | null;
  /** Wall clock, for the whole search. */
  readonly withinMs: number;
}

export type Quarry =
  | { readonly kind: 'found'; readonly find: Find; readonly seeds: number }
  | { readonly kind: 'missed'; readonly seeds: number; readonly timeIsOver: boolean }
  /** Nothing was proved: the bug was not planted, or the program did not even begin. */
  | { readonly kind: 'failed'; readonly why: string };

const HERE = import.meta.dirname;
/** Of processor time: no seed takes so much unless it never ends, and on a machine that is busy any takes long. */
const MOST_PER_SEED_MS = 30_000;
const LOOK_EVERY_MS = 5_000;
/** Of `/proc/PID/stat`, the same on every Linux. */
const TICK_MS = 10;
const HEAP_MIB = 1_024;

export async function hunt({ world, seeds, canary, withinMs }: Hunt): Promise<Quarry> {
  const bug = canary && { file: canary.file, find: canary.find, replace: canary.replace };
  const loaders = ['--import', join(HERE, 'plant.mjs'), '--import', 'tsx'];
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${HEAP_MIB}`, ...loaders, join(HERE, 'search.ts'), world, ...seeds],
    {
      cwd: join(HERE, '../..'),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...(bug ? { VLLM_GATEWAY_CANARY: JSON.stringify(bug) } : {}) },
    },
  );
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-4_000)));
  let hung = false;
  let timeIsOver = false;
  const end = (): void => void child.kill('SIGKILL');
  const whole = setTimeout(() => ((timeIsOver = true), end()), withinMs);
  let before = 0;
  const looks = setInterval(() => {
    if (processorTimeOf(child) - before <= MOST_PER_SEED_MS) return;
    hung = true;
    end();
  }, LOOK_EVERY_MS);
  try {
    const seen = { last: null as number | null, count: 0 };
    let answer: Exclude<SearchReport, { kind: 'seed' }> | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      const report = JSON.parse(line) as SearchReport;
      if (report.kind !== 'seed') {
        answer = report;
        continue;
      }
      before = processorTimeOf(child);
      seen.last = report.seed;
      seen.count += 1;
    }
    const code = await ended;
    if (answer?.kind === 'found') return { kind: 'found', find: answer.find, seeds: seen.count };
    if (answer?.kind === 'clean') return { kind: 'missed', seeds: seen.count, timeIsOver: false };
    if (answer) return { kind: 'failed', why: `${canary?.file} is not a part of this world.` };
    if (seen.last === null) return { kind: 'failed', why: `It did not begin (exit ${code}): ${words}` };
    if (timeIsOver) return { kind: 'missed', seeds: seen.count, timeIsOver };
    const violated = hung ? 'hang' : 'crash';
    const message = hung ? `no answer within ${MOST_PER_SEED_MS} ms of processor time` : lastLine(words, code);
    return { kind: 'found', find: { seed: seen.last, violated, message }, seeds: seen.count };
  } finally {
    clearTimeout(whole);
    clearInterval(looks);
    end();
  }
}

/** Milliseconds, of all its threads; 0 = it is gone, or the system does not tell. */
function processorTimeOf({ pid }: ChildProcess): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return 0;
  }
}

function lastLine(words: string, code: number | null): string {
  const said = words.split('\n').find((line) => /error/i.test(line));
  return `exit ${code}${said === undefined ? '' : `: ${said.trim()}`}`;
}
