/** What is mounted into this container. */
import { readFileSync, statSync } from 'node:fs';

/** Where Docker's socket is when nobody says otherwise. */
const USUAL_SOCKET = '/var/run/docker.sock';

/**
 * Mount points of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); spaces and the like are written as octal numbers there.
 * @param {string} text
 * @returns {string[]}
 */
export function mountPoints(text) {
  return text
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path !== '')
    .map((path) => path.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8))));
}

/** @returns {string[]} */
export function readMountPoints() {
  try {
    return mountPoints(readFileSync('/proc/self/mountinfo', 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Sockets that were mounted, Docker's at its usual place included, each with the group that may use it.
 * @param {readonly string[]} mounts
 * @returns {{ path: string, group: number | null }[]} null = everybody may, or no group may
 */
export function mountedSockets(mounts) {
  const found = new Map();
  for (const path of [USUAL_SOCKET, ...mounts]) {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (!stats?.isSocket()) continue;
    const key = `${stats.dev}:${stats.ino}`;
    if (!found.has(key)) found.set(key, { path, group: groupThatMay(stats) });
  }
  return [...found.values()];
}

/** @param {{ mode: number, gid: number }} stats */
function groupThatMay({ mode, gid }) {
  const everybody = (mode & 0o006) === 0o006;
  return !everybody && (mode & 0o060) === 0o060 ? gid : null;
}
