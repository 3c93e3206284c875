/** Small things that every step of a run needs: messages, the error that ends a run, child processes, hashes. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:os';
import process from 'node:process';

/** Ends the run with one line for the user instead of a stack trace. */
export class SetupError extends Error {
  /**
   * @param {string} message
   * @param {number} [exitCode]
   */
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * One line for the user, on stderr: stdout belongs to the program that is about to run.
 * @param {string} message
 */
export function say(message) {
  process.stderr.write(`vllm-gateway: ${message}\n`);
}

/**
 * The environment for child processes: without what the outer npm was told. `npm start --omit=dev` or NODE_ENV=production
 * say how the gateway shall run, not that its compiler may be left out. What says where the registry is and how to reach
 * it stays.
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
export function innerEnvironment(env) {
  const inner = { ...env };
  for (const name of Object.keys(inner)) {
    if (name === 'NODE_ENV' || name === 'INIT_CWD' || (/^npm_/i.test(name) && !reachesRegistry(name)))
      delete inner[name];
  }
  return inner;
}

const REGISTRY_ACCESS =
  /^(registry|@[^:]+:registry|\/\/.*|cache|userconfig|globalconfig|(https?_)?proxy|no_?proxy|ca|cafile|cert|key|strict_ssl|fetch_.*|maxsockets|offline|prefer_offline|prefer_online)$/;

/** @param {string} name */
function reachesRegistry(name) {
  const option = /^npm_config_(.*)$/i.exec(name)?.[1];
  return option !== undefined && REGISTRY_ACCESS.test(option.toLowerCase().replaceAll('-', '_'));
}

/** npm finishes what it is unpacking before it obeys a signal; nobody waits for that. */
const OBEY_MS = 3_000;

/**
 * Runs a child to its end and passes on the signals that this process gets meanwhile.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 * @returns {Promise<number>} the exit code, 128 + the signal's number when a signal ended it
 */
export function runChild(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, options);
    /** @type {NodeJS.Timeout | undefined} */
    let impatience;
    /** @type {NodeJS.Signals | undefined} */
    let passed;
    const passOn = (/** @type {NodeJS.Signals} */ signal) => {
      passed ??= signal;
      child.kill(signal);
      impatience ??= setTimeout(() => child.kill('SIGKILL'), OBEY_MS);
    };
    const signals = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
    for (const signal of signals) process.on(signal, passOn);
    const settle = () => {
      clearTimeout(impatience);
      for (const signal of signals) process.off(signal, passOn);
    };
    child.once('error', (error) => {
      settle();
      reject(new SetupError(`cannot run ${command}: ${error.message}`));
    });
    child.once('exit', (code, signal) => {
      settle();
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[passed ?? signal]);
    });
  });
}

/** @param {readonly (string | Uint8Array)[]} parts */
export function hash(parts) {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(`${part.length}:`).update(part);
  return digest.digest('hex');
}
