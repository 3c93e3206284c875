/** The two builds of a comparison, each in a temporary folder of its own. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Build } from './gateway-target.ts';
import { ROOT } from './launch.ts';

const MAX_ARCHIVE_BYTES = 256 * 1024 * 1024;
const QUIETLY = ['ignore', 'ignore', 'ignore'] as const;

/** The commit that a change is compared with. It is moved only together with a line in CHANGELOG.md. */
export const namedBaseline = (): string => readFileSync(join(ROOT, 'tools', 'bench', 'baseline'), 'utf8').trim();

function git(...args: readonly string[]): boolean {
  try {
    execFileSync('git', args, { cwd: ROOT, stdio: [...QUIETLY] });
    return true;
  } catch {
    return false;
  }
}

/** A shallow clone may lack it; then it is fetched, where there is somebody to fetch it from. */
export const hasCommit = (commit: string): boolean =>
  git('cat-file', '-e', `${commit}^{commit}`) ||
  (git('fetch', '--quiet', '--depth=1', 'origin', commit) && git('cat-file', '-e', `${commit}^{commit}`));

const dependencies = (folder: string): string =>
  JSON.stringify(
    (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies: object }).dependencies,
  );

/** As the checkout is now, uncommitted changes included: `dist` is what `npm run bench` has just built. */
export function currentBuild(name: string, folder: string): Build {
  const root = join(folder, name);
  mkdirSync(root, { recursive: true });
  cpSync(join(ROOT, 'dist'), join(root, 'dist'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(root, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  return { name, root };
}

/** Compiled by today's compiler; with packages of its own where it declares others. */
export function buildOf(commit: string, name: string, folder: string): Build {
  const root = join(folder, name);
  mkdirSync(root, { recursive: true });
  const archive = execFileSync('git', ['archive', '--format=tar', commit], { cwd: ROOT, maxBuffer: MAX_ARCHIVE_BYTES });
  execFileSync('tar', ['-x', '-C', root], { input: archive });
  const modules = join(root, 'node_modules');
  symlinkSync(join(ROOT, 'node_modules'), modules);
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', 'dist'], {
    cwd: root,
    stdio: 'inherit',
  });
  const pages = join(ROOT, 'dist', 'web');
  if (existsSync(pages)) cpSync(pages, join(root, 'dist', 'web'), { recursive: true });
  if (dependencies(root) !== dependencies(ROOT)) {
    rmSync(modules);
    execFileSync('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  }
  return { name, root };
}
