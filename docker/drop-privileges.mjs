/** From root to an ordinary user, for good. */
import { readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';

/**
 * Afterwards no thread of this process has a capability or another id, and none can be had again: anything else throws.
 * @param {{ uid: number, gid: number }} user
 * @param {readonly number[]} groups supplementary ones
 */
export function dropPrivileges(user, groups) {
  try {
    // In this order: whoever is no longer root may not choose groups.
    process.setgroups([...groups]);
    process.setgid(user.gid);
    process.setuid(user.uid);
  } catch (error) {
    throw new Error(
      `root could not be given up (${error.code}): leave the container CAP_SETUID and CAP_SETGID, or start it as user ${user.uid}`,
      { cause: error },
    );
  }
  for (const complaint of [...leftovers(user, groups), ...waysBack()]) {
    throw new Error(`root could not be given up: ${complaint}`);
  }
}

/**
 * @param {{ uid: number, gid: number }} user
 * @param {readonly number[]} groups
 */
function leftovers({ uid, gid }, groups) {
  const allowed = new Set([gid, ...groups]);
  return readdirSync('/proc/self/task').flatMap((task) => {
    const status = statusOf(task);
    const expect = (name, holds) => {
      const words = fieldOf(status, name);
      return words.every(holds) ? [] : [`thread ${task} has ${name} ${words.join(' ')}`];
    };
    return [
      ...expect('Uid', (id) => Number(id) === uid),
      ...expect('Gid', (id) => Number(id) === gid),
      ...expect('Groups', (id) => allowed.has(Number(id))),
      ...['CapEff', 'CapPrm', 'CapAmb'].flatMap((name) => expect(name, (bits) => /^0*$/.test(bits))),
    ];
  });
}

/** Empty when the thread has ended meanwhile. */
function statusOf(task) {
  try {
    return readFileSync(`/proc/self/task/${task}/status`, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return '';
    throw error;
  }
}

/** Words of one line of proc_pid_status(5). */
function fieldOf(status, name) {
  const line = status.split('\n').find((text) => text.startsWith(`${name}:`)) ?? '';
  return line
    .slice(name.length + 1)
    .split(/\s+/)
    .filter((word) => word !== '');
}

function waysBack() {
  const attempts = {
    setuid: () => process.setuid(0),
    setgid: () => process.setgid(0),
    setgroups: () => process.setgroups([0]),
  };
  return Object.entries(attempts).flatMap(([name, attempt]) => {
    try {
      attempt();
    } catch (error) {
      if (error.code === 'EPERM') return [];
      throw error;
    }
    return [`${name} to 0 succeeds`];
  });
}
