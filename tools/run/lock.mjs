/**
 * A lock between processes: one file that names its holder. A holder that died without releasing it is recognised by its
 * pid and start time, and its lock is taken over.
 */
import { linkSync, mkdirSync, readFileSync, rmdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { say, SetupError } from './setup.mjs';

const POLL_MS = 100;
/** Longer than any install and build: past it the holder hangs, and the user should know. */
const PATIENCE_MS = 15 * 60_000;
/** A takeover is three file operations: an older one belongs to a process that died in between. */
const TAKEOVER_MS = 10_000;

/**
 * Runs `work` while no other process holds the lock at `path`.
 * @template Result
 * @param {string} path
 * @param {() => Promise<Result>} work
 * @returns {Promise<Result>}
 */
export async function withLock(path, work) {
  mkdirSync(dirname(path), { recursive: true });
  const release = await acquire(path);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

/** @param {string} path */
async function acquire(path) {
  const me = identity(process.pid);
  const deadline = Date.now() + PATIENCE_MS;
  let told = false;
  for (;;) {
    if (claim(path, me)) return () => removeIf(path, me);
    const holder = read(path);
    if (holder !== undefined && !lives(holder)) {
      takeOver(path, holder);
      continue;
    }
    if (Date.now() > deadline) throw new SetupError(`gave up waiting for process ${holder}, which holds ${path}`);
    if (!told && holder !== undefined)
      say(`waiting for another run (process ${holder.split(' ')[0]}) to finish its set-up`);
    told ||= holder !== undefined;
    await sleep(POLL_MS);
  }
}

/**
 * The file appears with its content or not at all: written aside, then linked, which fails where the name exists.
 * @param {string} path
 * @param {string} me
 */
function claim(path, me) {
  const aside = `${path}.${process.pid}`;
  writeFileSync(aside, me);
  try {
    linkSync(aside, path);
    return true;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    return false;
  } finally {
    unlinkSync(aside);
  }
}

/**
 * Only the process that made the takeover folder may remove the dead holder's lock, and it looks again before it does:
 * otherwise two waiters could remove the lock one after the other, the second one a live lock.
 * @param {string} path
 * @param {string} dead
 */
function takeOver(path, dead) {
  const guard = `${path}.takeover`;
  try {
    mkdirSync(guard);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    if (ageOf(guard) > TAKEOVER_MS) removeFolder(guard);
    return;
  }
  try {
    removeIf(path, dead);
  } finally {
    removeFolder(guard);
  }
}

/**
 * pid and, where the kernel tells it, start time: a pid alone may have been given to somebody else.
 * @param {number} pid
 */
function identity(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return `${pid}`;
  }
}

/** @param {string} holder */
function lives(holder) {
  const pid = Number(holder.split(' ')[0]);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false;
  }
  return identity(pid) === holder;
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/**
 * @param {string} path
 * @param {string} holder
 */
function removeIf(path, holder) {
  if (read(path) === holder) unlinkSync(path);
}

/** @param {string} path */
function ageOf(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return 0;
  }
}

/** @param {string} path */
function removeFolder(path) {
  try {
    rmdirSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
