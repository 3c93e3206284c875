/** Runs Vitest and closes with one plain line that counts the results. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { innerEnvironment, runChild } from './setup.mjs';

/**
 * @param {string} root
 * @param {readonly string[]} args for Vitest
 * @returns {Promise<number>} exit code
 */
export async function runTests(root, args) {
  const folder = mkdtempSync(join(tmpdir(), 'vllm-gateway-tests-'));
  const results = join(folder, 'counts.json');
  const ownReporter = args.some((arg) => arg.startsWith('--reporter'));
  try {
    const code = await runChild(
      process.execPath,
      [
        join(root, 'node_modules', 'vitest', 'vitest.mjs'),
        'run',
        ...(ownReporter ? [] : ['--reporter=default']),
        `--reporter=${join(root, 'tools', 'run', 'count-reporter.mjs')}`,
        ...args,
      ],
      {
        cwd: root,
        env: { ...innerEnvironment(process.env), VITEST_COUNTS_FILE: results },
        stdio: ['ignore', 'inherit', 'inherit'],
      },
    );
    const { passed, failed, skipped } = read(results, code);
    process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
    return code === 0 && failed > 0 ? 1 : code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A run that ended without results (killed, bad arguments) or with an error outside any test counts as one failure:
 * the line never says "0 failed" for a run that failed.
 * @param {string} path
 * @param {number} code
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
function read(path, code) {
  const counts = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { passed: 0, failed: 0, skipped: 0 };
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}
