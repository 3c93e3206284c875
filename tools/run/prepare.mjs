/** Brings `node_modules` and `dist` (the program, and the dashboard in `dist/web`) up to date. Nothing to do is the usual case and must cost next to nothing. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import process from 'node:process';
import { withLock } from './lock.mjs';
import { hash, innerEnvironment, runChild, say, SetupError } from './setup.mjs';

export const INSTALLED = 'node_modules/.cache/vllm-gateway-install';
const BUILT = 'dist/.stamp';
const SOURCES = ['src', 'tools/fake-vllm'];
const COMPILER_SETTINGS = ['tsconfig.json', 'tsconfig.build.json'];
/** The dashboard: built by itself, kept when only the program is compiled anew. */
const PAGES = 'dist/web';
const PAGES_BUILT = 'dist/web/.stamp';

/** @param {string} root */
export async function prepare(root) {
  if (isFresh(root)) return;
  await withLock(join(root, '.cache', 'run.lock'), async () => {
    await install(root);
    await compile(root);
    await buildPages(root);
  });
}

/** @param {string} root */
function isFresh(root) {
  const packages = packagesStamp(root);
  return (
    stampAt(root, INSTALLED) === packages &&
    stampAt(root, BUILT) === sourcesStamp(root, packages) &&
    stampAt(root, PAGES_BUILT) === pagesStamp(root, packages)
  );
}

/** @param {string} root */
async function install(root) {
  const stamp = packagesStamp(root);
  if (stampAt(root, INSTALLED) === stamp) return;
  say('installing packages (npm ci)');
  const npm = process.env['npm_execpath'];
  // The npm that runs us, if one does; it may not be the first in PATH.
  const [command, ...before] = npm !== undefined && basename(npm) === 'npm-cli.js' ? [process.execPath, npm] : ['npm'];
  const code = await runChild(command, [...before, 'ci', '--include=dev', '--loglevel=error'], {
    cwd: root,
    env: innerEnvironment(process.env),
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  if (code > 128) throw new SetupError('interrupted', code);
  if (code !== 0) throw new SetupError('npm ci failed; its output above says why', code);
  mkdirSync(join(root, INSTALLED, '..'), { recursive: true });
  writeFileSync(join(root, INSTALLED), stamp);
}

/** @param {string} root */
async function compile(root) {
  const stamp = sourcesStamp(root, packagesStamp(root));
  if (stampAt(root, BUILT) === stamp) return;
  say('compiling (tsc)');
  // Compiled aside and swapped in: nobody sees half a build, and nothing stays behind from a source that is gone.
  const next = join('.cache', `dist-${process.pid}`);
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
  const code = await runChild(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', next], {
    cwd: root,
    env: innerEnvironment(process.env),
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  if (code !== 0) {
    rmSync(join(root, next), { recursive: true, force: true });
    if (code > 128) throw new SetupError('interrupted', code);
    throw new SetupError('the sources do not compile; the lines above say where', code);
  }
  writeFileSync(join(root, next, basename(BUILT)), stamp);
  if (existsSync(join(root, PAGES))) cpSync(join(root, PAGES), join(root, next, basename(PAGES)), { recursive: true });
  swapIn(root, next, 'dist');
}

/** @param {string} root */
async function buildPages(root) {
  const stamp = pagesStamp(root, packagesStamp(root));
  if (stampAt(root, PAGES_BUILT) === stamp) return;
  say('building the dashboard (vite)');
  const next = join('.cache', `web-${process.pid}`);
  const vite = join('node_modules', 'vite', 'bin', 'vite.js');
  const args = [vite, 'build', '--config', join('web', 'vite.config.ts'), '--outDir', join(root, next)];
  const code = await runChild(process.execPath, [...args, '--logLevel', 'warn'], {
    cwd: root,
    env: innerEnvironment(process.env),
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  if (code !== 0) {
    rmSync(join(root, next), { recursive: true, force: true });
    if (code > 128) throw new SetupError('interrupted', code);
    throw new SetupError('the dashboard cannot be built; the lines above say why', code);
  }
  writeFileSync(join(root, next, basename(PAGES_BUILT)), stamp);
  swapIn(root, next, PAGES);
}

/**
 * @param {string} root
 * @param {string} next
 * @param {string} place
 */
function swapIn(root, next, place) {
  const old = join(root, `${next}-old`);
  if (existsSync(join(root, place))) renameSync(join(root, place), old);
  renameSync(join(root, next), join(root, place));
  rmSync(old, { recursive: true, force: true });
}

/**
 * What the packages of this checkout are told by: the same stamp, the same packages.
 * @param {string} root
 */
export function packagesStamp(root) {
  return hash([process.version, process.platform, process.arch, readFileSync(join(root, 'package-lock.json'))]);
}

/**
 * @param {string} root
 * @param {string} packages
 */
function sourcesStamp(root, packages) {
  const files = [...COMPILER_SETTINGS, ...SOURCES.flatMap((folder) => filesIn(root, folder))];
  return hash([packages, ...files.flatMap((file) => [file, readFileSync(join(root, file))])]);
}

/**
 * Types that the pages share with the program are checked, and leave nothing behind in what is built.
 * @param {string} root
 * @param {string} packages
 */
function pagesStamp(root, packages) {
  return hash([packages, ...filesIn(root, 'web').flatMap((file) => [file, readFileSync(join(root, file))])]);
}

/**
 * @param {string} root
 * @param {string} folder
 * @returns {string[]} paths relative to the root, sorted
 */
function filesIn(root, folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, '/').length))
    .sort();
}

/**
 * @param {string} root
 * @param {string} path
 */
function stampAt(root, path) {
  const file = join(root, path);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}
