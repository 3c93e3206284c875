/** The file system of the image that the tests run engines from: taken from this machine, nothing is pulled. */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fakeVllmPath } from './fake-vllm.ts';

/** The default of `drivers.docker.image`: a configuration that names no image runs it. */
export const FAKE_VLLM_IMAGE = 'vllm/vllm-openai:v0.16.0';

const HOME = '/opt/fake-vllm';
const NODE = '/usr/local/bin/node';

/** Small programs in the image, by path. */
const SCRIPTS: Readonly<Record<string, string>> = {
  '/usr/local/bin/vllm': `#!${NODE}\nimport('${HOME}/tools/fake-vllm/main.js');\n`,
  '/usr/local/bin/nvidia-smi': `#!${NODE}\nimport('${HOME}/tools/fake-vllm/nvidia-smi.js');\n`,
  // What fetches the weights is a program in Python, which a real image has.
  '/usr/local/bin/python3': `#!${NODE}\nimport('${HOME}/tools/fake-vllm/python3.js');\n`,
};

/** A tar stream of the whole image. */
export function fakeVllmImageTar(): Readable {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-image-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    fill(folder);
  } catch (error) {
    remove();
    throw error;
  }
  const tar = spawn('tar', ['-C', folder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  tar.once('close', remove);
  return tar.stdout;
}

function fill(folder: string): void {
  for (const path of ['tmp', 'root', 'etc', 'proc', 'sys', 'dev', 'usr/bin', 'usr/local/bin']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  chmodSync(join(folder, 'tmp'), 0o1777);
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
  for (const [name, path] of programs()) addProgram(folder, name, path);
  for (const [path, text] of Object.entries(SCRIPTS)) {
    writeFileSync(join(folder, path), text, { mode: 0o755 });
  }
  const compiled = dirname(dirname(dirname(fakeVllmPath())));
  cpSync(compiled, join(folder, HOME), { recursive: true });
  writeFileSync(join(folder, HOME, 'package.json'), '{ "type": "module" }\n');
}

function programs(): [string, string][] {
  return [
    [NODE, realpathSync(process.execPath)],
    ['/bin/sh', realpathSync('/bin/sh')],
    ...['sleep', 'cat', 'id'].map((name): [string, string] => [`/usr/bin/${name}`, realpathSync(`/usr/bin/${name}`)]),
  ];
}

function addProgram(folder: string, name: string, path: string): void {
  put(folder, name, path);
  const listed = spawnSync('ldd', [path], { encoding: 'utf8' }).stdout ?? '';
  for (const line of listed.split('\n')) {
    const library = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (library !== undefined && !existsSync(join(folder, library))) put(folder, library, realpathSync(library));
  }
}

function put(folder: string, name: string, path: string): void {
  const target = join(folder, name);
  mkdirSync(dirname(target), { recursive: true });
  const draft = `${target}.draft`;
  copyFileSync(path, draft);
  chmodSync(draft, 0o755);
  renameSync(draft, target);
}
