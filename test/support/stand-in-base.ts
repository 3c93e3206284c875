/**
 * An image with the tag that the Dockerfile builds on, made of this machine's own Node and its libraries: where no
 * registry can be reached the real Dockerfile still builds and runs. It holds what the build stage would fetch, the
 * packages of this checkout, and neither a shell nor a package manager.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import type Docker from 'dockerode';
import { readSource, ROOT } from './source-tree.ts';

/** As every Linux has them; the run-time mounts over some. */
const FOLDERS = ['etc', 'tmp', 'root', 'proc', 'sys', 'dev', 'run', 'var'];

/** `node:22-bookworm-slim` */
export function baseTag(): string {
  const tag = /^ARG NODE_IMAGE=(\S+)$/m.exec(readSource('Dockerfile'))?.[1];
  if (tag === undefined) throw new Error('the Dockerfile names no base image');
  return tag;
}

/** What `/usr/bin/env node` needs: both programs with their libraries and the loader, as absolute paths. */
function programFiles(): readonly string[] {
  const programs = [realpathSync(process.execPath), realpathSync('/usr/bin/env')];
  const libraries = programs.flatMap((program) =>
    [...execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path),
  );
  return [...new Set([...programs, ...libraries])];
}

/** Imports the stand-in under the tag of the real base. */
export async function loadStandInBase(docker: Docker): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'stand-in-'));
  try {
    const files = layOut(scratch);
    const [repo = '', tag = ''] = baseTag().split(':');
    const stream = await docker.importImage(files.stdout, {
      fromSrc: '-',
      repo,
      tag,
      changes: 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    });
    await ended(docker, stream);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The mark of `npm ci`, for the packages as they are: the build stage installs nothing. */
function writeInstallMark(scratch: string): string {
  const script = `import(${JSON.stringify(join(ROOT, 'tools', 'run', 'prepare.mjs'))})
    .then(({ INSTALLED, packagesStamp }) => console.log(JSON.stringify([INSTALLED, packagesStamp(process.argv[1])])))`;
  const printed = execFileSync(process.execPath, ['-e', script, ROOT], { encoding: 'utf8' });
  const [path = '', stamp = ''] = JSON.parse(printed) as string[];
  mkdirSync(join(scratch, 'build', path, '..'), { recursive: true });
  const markPath = join('build', path);
  writeFileSync(join(scratch, markPath), stamp);
  return markPath;
}

/** A running `tar` whose output is the file system: links of the host are followed, so that nothing dangles. */
function layOut(scratch: string): ReturnType<typeof tar> {
  for (const folder of FOLDERS) mkdirSync(join(scratch, folder));
  writeFileSync(join(scratch, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(scratch, 'etc', 'group'), 'root:x:0:\n');
  const markPath = writeInstallMark(scratch);
  const node = realpathSync(process.execPath).slice(1);
  return tar([
    '--dereference',
    '--anchored',
    '--exclude=node_modules/.cache',
    `--transform=s,^${node}$,usr/local/bin/node,`,
    '--transform=s,^node_modules/,build/node_modules/,',
    ...['-C', '/', ...programFiles().map((path) => path.slice(1))],
    ...['-C', ROOT, 'node_modules'],
    ...['-C', scratch, markPath, ...FOLDERS],
  ]);
}

/** What `docker build .` would send: the files of the checkout that .dockerignore lets through. */
export function buildContext(): ReturnType<typeof tar> {
  const allowed = readSource('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  return tar(['-C', ROOT, 'Dockerfile', ...allowed]);
}

function tar(args: readonly string[]) {
  return spawn('tar', ['--create', '--file=-', '--owner=0', '--group=0', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** Waits for the end of a build or an import; rejects with what it said when it failed. */
export async function ended(docker: Docker, stream: NodeJS.ReadableStream): Promise<void> {
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(
      stream,
      (error) => (error ? reject(new Error(`${error.message}\n${said.join('')}`)) : resolve()),
      (event: { stream?: string; error?: string }) => {
        said.push(event.stream ?? '');
        if (event.error !== undefined) reject(new Error(`${event.error}\n${said.join('')}`));
      },
    );
  });
}
