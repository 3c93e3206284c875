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
    const status = readFileSync(`/proc/self/task/${task}/status`, 'utf8');
    const field = (name) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim().split(/\s+/) ?? [];
    return [
      ...(field('Uid').every((id) => Number(id) === uid) ? [] : [`thread ${task} has the uids ${field('Uid')}`]),
      ...(field('Gid').every((id) => Number(id) === gid) ? [] : [`thread ${task} has the gids ${field('Gid')}`]),
      ...(field('Groups').every((id) => id === '' || allowed.has(Number(id)))
        ? []
        : [`thread ${task} has the groups ${field('Groups')}`]),
      ...['CapEff', 'CapPrm', 'CapAmb'].flatMap((name) =>
        field(name).every((bits) => /^0*$/.test(bits)) ? [] : [`thread ${task} has ${name} ${field(name)}`],
      ),
    ];
  });
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
