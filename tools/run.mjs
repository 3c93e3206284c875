#!/usr/bin/env node
/**
 * What `npm start` and `npm test` run: brings the checkout into a runnable state, then runs it.
 *
 * Owns: the folder `node_modules` (through npm), the folder `dist` (through tsc and Vite), the lock that lets several runs share
 * them. Must not: depend on any package, because none may be installed yet; print on stdout, which belongs to the program.
 *
 *   node tools/run.mjs start [args]   without arguments `vllm-gateway demo`, with arguments `vllm-gateway serve args`
 *   node tools/run.mjs test [args]    the test suite (arguments go to Vitest), then one line that counts the results
 *   node tools/run.mjs build          only brings `node_modules` and `dist` up to date
 */
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { say, SetupError } from './run/setup.mjs';
import { prepare } from './run/prepare.mjs';
import { runTests } from './run/tests.mjs';

const OLDEST_NODE = [20, 19];
const root = fileURLToPath(new URL('..', import.meta.url));

function checkNodeVersion() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [needMajor = 0, needMinor = 0] = OLDEST_NODE;
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return;
  throw new SetupError(
    `Node ${process.versions.node} (${process.execPath}) is too old: vLLM Gateway needs Node ${OLDEST_NODE.join('.')} or newer.`,
  );
}

/**
 * Runs the program in this very process, so that a signal sent to npm or to us reaches it without a relay.
 * @param {string[]} args
 */
async function start(args) {
  const main = join(root, 'dist', 'src', 'main.js');
  process.argv = [process.execPath, main, ...(args.length === 0 ? ['demo'] : ['serve', ...args])];
  await import(pathToFileURL(main).href);
}

async function run() {
  const [command, ...args] = process.argv.slice(2);
  if (command !== 'start' && command !== 'test' && command !== 'build') {
    throw new SetupError('usage: node tools/run.mjs start|test|build [arguments]', 2);
  }
  checkNodeVersion();
  await prepare(root);
  if (command === 'start') await start(args);
  if (command === 'test') process.exitCode = await runTests(root, args);
}

try {
  await run();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exit(error.exitCode);
}
