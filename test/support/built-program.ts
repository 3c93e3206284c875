/** The compiled program, as users run it. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = join(ROOT, 'dist/src/main.js');
const SOURCES = ['src', 'tools/fake-vllm'];
const LOCK = join(ROOT, '.cache/test-build.lock');
const LOCK_TRIES = 1_200;
const LOCK_PAUSE_MS = 50;

let built = false;

/** Path of `main.js`; compiled first when a source is newer. `npm test` has compiled already. Once per test file: all of it runs one program. */
export function builtProgram(): string {
  if (!built && stale()) compile();
  built = true;
  return PROGRAM;
}

function stale(): boolean {
  if (!existsSync(PROGRAM)) return true;
  const built = newest('dist', '.js');
  return SOURCES.some((folder) => newest(folder, '.ts') > built);
}

function newest(folder: string, ending: string): number {
  const paths = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  const wanted = paths.filter((path) => path.endsWith(ending) && !path.endsWith('.test.ts'));
  return Math.max(0, ...wanted.map((path) => statSync(join(ROOT, folder, path)).mtimeMs));
}

/** Test files run side by side: only one compiles, the others wait for it. */
function compile(): void {
  mkdirSync(join(ROOT, '.cache'), { recursive: true });
  const waiting = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; ; tries += 1) {
    try {
      mkdirSync(LOCK);
      break;
    } catch (error) {
      if (!stale()) return;
      if (tries === LOCK_TRIES)
        throw new Error(`${LOCK} is held for too long; remove it if nothing compiles`, { cause: error });
      Atomics.wait(waiting, 0, 0, LOCK_PAUSE_MS);
    }
  }
  try {
    if (!stale()) return;
    // Compiled aside and swapped in: no engine starts from half a build.
    const aside = join(ROOT, '.cache', `dist-test-${process.pid}`);
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const args = [compiler, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', aside];
    const run = spawnSync(process.execPath, args, { encoding: 'utf8' });
    // Type errors are the type check's to tell; what was written out can be run.
    if (!existsSync(join(aside, 'src/main.js')))
      throw new Error(`the program does not compile:\n${run.stdout}${run.stderr}`);
    const pages = join(ROOT, 'dist/web');
    if (existsSync(pages)) cpSync(pages, join(aside, 'web'), { recursive: true });
    const old = `${aside}-old`;
    if (existsSync(join(ROOT, 'dist'))) renameSync(join(ROOT, 'dist'), old);
    renameSync(aside, join(ROOT, 'dist'));
    rmSync(old, { recursive: true, force: true });
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}
