/**
 * An image with the tag that the Dockerfile builds on, made of this machine's own Node and its libraries: where no
 * registry can be reached the real Dockerfile still builds and runs. It holds what the build stage would fetch, the
 * packages of this checkout, and neither a shell nor a package manager.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import type { Readable } from 'node:stream';
import { callDocker } from './docker-call.ts';
import { readSource, ROOT } from './source-tree.ts';

/** As every Linux has them; the run-time mounts over some. */
const FOLDERS = ['etc', 'tmp', 'root', 'proc', 'sys', 'dev', 'run', 'var'];
const SEARCH_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The tag of the Dockerfile's base: repository and version. */
export function baseTag(): readonly [string, string] {
  const [, repo, version] = /^ARG NODE_IMAGE=([^\s:]+):(\S+)$/m.exec(readSource('Dockerfile')) ?? [];
  if (repo === undefined || version === undefined) throw new Error('the Dockerfile names no base image');
  return [repo, version];
}

/** Imports the stand-in under the tag of the real base. */
export async function loadStandInBase(socket: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'vgw-base-'));
  try {
    const [repo, tag] = baseTag();
    const query = new URLSearchParams({ fromSrc: '-', repo, tag, changes: `ENV ${SEARCH_PATH}` });
    await succeed(socket, `/images/create?${query.toString()}`, fileSystem(scratch));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Runs the Dockerfile of this checkout. No step of it may reach a network. */
export async function buildGatewayImage(socket: string, tag: string): Promise<void> {
  await buildImage(socket, tag, checkout());
}

/** Builds from a tar of a context with a `Dockerfile`. */
export async function buildImage(socket: string, tag: string, context: Readable): Promise<void> {
  const query = new URLSearchParams({ t: tag, networkmode: 'none', rm: 'true', forcerm: 'true' });
  await succeed(socket, `/build?${query.toString()}`, context);
}

/** What a build says is a stream of JSON lines with status 200, whatever becomes of it. */
async function succeed(socket: string, path: string, body: Readable): Promise<void> {
  const { status, text } = await callDocker(socket, 'POST', path, body);
  if (status !== 200 || text.includes('"errorDetail"')) throw new Error(`${path}: ${status}\n${text.slice(-4_000)}`);
}

/** What `docker build .` would send: the files of the checkout that .dockerignore lets through. */
function checkout(): Readable {
  const allowed = readSource('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  return tar(['-C', ROOT, 'Dockerfile', ...allowed]);
}

/** Links of this machine are followed, so that nothing dangles. */
function fileSystem(scratch: string): Readable {
  for (const folder of FOLDERS) mkdirSync(join(scratch, folder));
  writeFileSync(join(scratch, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(scratch, 'etc', 'group'), 'root:x:0:\n');
  const mark = writeInstallMark(scratch);
  const node = realpathSync(process.execPath).slice(1);
  return tar([
    '--dereference',
    `--transform=s,^${node}$,usr/local/bin/node,`,
    '--transform=s,^node_modules/,build/node_modules/,',
    ...['-C', '/', ...programFiles().map((path) => path.slice(1))],
    ...['-C', ROOT, ...packages()],
    ...['-C', scratch, mark, ...FOLDERS],
  ]);
}

/** What compiles the program and builds its page. */
const BUILD_TOOLS = ['typescript', 'vite', 'preact'];
const TYPES = 'node_modules/@types/';

interface Locked {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** What the build stage works with: the production packages, and the tools of the build with all that they need. */
function packages(): readonly string[] {
  const lock = JSON.parse(readSource('package-lock.json')) as { packages: Readonly<Record<string, Locked>> };
  const wanted = new Set<string>();
  const want = (name: string): void => {
    const path = `node_modules/${name}`;
    if (wanted.has(path) || lock.packages[path] === undefined) return;
    wanted.add(path);
    const { dependencies, optionalDependencies } = lock.packages[path];
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) want(needed);
  };
  for (const name of BUILD_TOOLS) want(name);
  for (const path of Object.keys(lock.packages)) if (path.startsWith(TYPES)) want(path.slice('node_modules/'.length));
  return Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => (path !== '' && !dev && !devOptional) || wanted.has(path))
    .map(([path]) => path)
    .filter((path) => path.lastIndexOf('node_modules/') === 0 && existsSync(join(ROOT, path)));
}

/** The mark of `npm ci`, for the packages as they are: the build stage installs nothing. */
function writeInstallMark(scratch: string): string {
  const script = `import(${JSON.stringify(join(ROOT, 'tools', 'run', 'prepare.mjs'))})
    .then(({ INSTALLED, packagesStamp }) => console.log(JSON.stringify([INSTALLED, packagesStamp(process.argv[1])])))`;
  const printed = execFileSync(process.execPath, ['-e', script, ROOT], { encoding: 'utf8' });
  const [path = '', stamp = ''] = JSON.parse(printed) as string[];
  const mark = join('build', path);
  mkdirSync(join(scratch, mark, '..'), { recursive: true });
  writeFileSync(join(scratch, mark), stamp);
  return mark;
}

/** What `/usr/bin/env node` and the build need: programs, their libraries and the loader, as absolute paths. */
function programFiles(): readonly string[] {
  const programs = [realpathSync(process.execPath), realpathSync('/usr/bin/env')];
  const libraries = [...programs, ...nativeParts()].flatMap((program) =>
    [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path),
  );
  return [...new Set([...programs, ...libraries])];
}

/** Parts of packages that are no JavaScript: they load libraries of the system. */
function nativeParts(): readonly string[] {
  return packages().flatMap((path) =>
    readdirSync(join(ROOT, path))
      .filter((name) => name.endsWith('.node'))
      .map((name) => join(ROOT, path, name)),
  );
}

function tar(args: readonly string[]): Readable {
  const options = ['--create', '--file=-', '--owner=0', '--group=0'];
  return spawn('tar', [...options, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout;
}
