/**
 * Lays out what the image adds to its base: `node tools/image/assemble.mjs TARGET`, in a built checkout.
 *
 *   TARGET/root    copied to /: the program below /app, its command in /usr/local/bin
 *   TARGET/state   copied to /app/data, owned by the user that the program runs as
 *
 * Production packages only, as the lock file marks them. Everybody may read, nobody but root may write, whatever modes
 * the checkout has.
 */
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Besides the packages: what runs, what it reads, and what a person may want to read. */
const PARTS = [
  'package.json',
  'dist',
  'docker',
  'examples',
  'gateway.schema.json',
  'CHANGELOG.md',
  'README.md',
  'LICENSE',
];
const FOR_TOOLS = /\.(?:d\.[cm]?ts|map)$/;
const COMMAND = 'usr/local/bin/vllm-gateway';
const PROGRAM = 'app/dist/src/main.js';

/**
 * Folders of the packages that the program needs when it runs.
 * @param {{ packages: Record<string, { dev?: boolean, devOptional?: boolean, optional?: boolean }> }} lock version 3
 * @returns {string[]}
 */
export function productionPackages(lock) {
  return Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => path.startsWith('node_modules/') && !dev && !devOptional)
    .map(([path]) => path);
}

/**
 * @param {string} checkout
 * @param {string} target
 */
export function assemble(checkout, target) {
  const root = join(target, 'root');
  const app = join(root, 'app');
  const lock = JSON.parse(readFileSync(join(checkout, 'package-lock.json'), 'utf8'));
  for (const part of PARTS) copy(join(checkout, part), join(app, part));
  for (const path of productionPackages(lock)) {
    const from = join(checkout, path);
    if (existsSync(from)) copy(from, join(app, path));
    else if (!lock.packages[path].optional) throw new Error(`${path} is not installed`);
  }
  mkdirSync(join(root, dirname(COMMAND)), { recursive: true });
  symlinkSync(`/${PROGRAM}`, join(root, COMMAND));
  openUp(root);
  chmodSync(join(root, PROGRAM), 0o755);
  mkdirSync(join(target, 'state'), { recursive: true });
}

/**
 * Packages within a package are listed, and copied, on their own; what only compilers and debuggers read stays behind.
 * @param {string} from
 * @param {string} to
 */
function copy(from, to) {
  const wanted = (path) =>
    path === from || (!path.slice(from.length).split('/').includes('node_modules') && !FOR_TOOLS.test(path));
  cpSync(from, to, { recursive: true, filter: wanted });
}

/** @param {string} path */
function openUp(path) {
  const stats = lstatSync(path);
  if (stats.isSymbolicLink()) return;
  const runs = stats.isDirectory() || (stats.mode & 0o111) !== 0;
  chmodSync(path, runs ? 0o755 : 0o644);
  if (stats.isDirectory()) for (const name of readdirSync(path)) openUp(join(path, name));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  assemble(fileURLToPath(new URL('../..', import.meta.url)), process.argv[2] ?? '/image');
}
