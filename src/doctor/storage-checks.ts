/** Folders that the gateway and its engines write to, and the space below them. */
import type { Config } from '../config/config.ts';
import type { Machine, Space } from '../platform/machine.ts';
import { formatSize, GIB, MIB, type Bytes } from '../units.ts';
import { codeOf, findingsOf, type Finding } from './finding.ts';

/** Records, footprints and the logs of engines. */
const STATE_NEEDS: Bytes = 128 * MIB;
/** What vLLM's own processes pass to each other where a model is split over GPUs. */
const SHARED_NEEDS: Bytes = GIB;
const SHARED = '/dev/shm';

export type Look = Pick<Machine, 'space' | 'nearest' | 'mayWrite' | 'owner' | 'userId'>;

/** Undefined where the space cannot be read. */
export const spaceAt = (machine: Look, path: string): Promise<Space | undefined> =>
  machine.space(path).catch(() => undefined);

export async function checkStateDir(config: Config, machine: Look): Promise<Finding> {
  const { ok } = findingsOf('state_dir');
  const folder = config.server.stateDir;
  const wrong = await whyNotWritable(folder, 'server.state_dir (GATEWAY_STATE_DIR)', machine);
  if (wrong !== null) return { ...wrong, check: 'state_dir' };
  const there = (await machine.nearest(folder)) === folder;
  return ok(there ? `${folder} is writable.` : `${folder} will be made at the first start.`);
}

/** A problem, or null when files can be made there. `setting`: what names the folder. */
export async function whyNotWritable(folder: string, setting: string, machine: Look): Promise<Finding | null> {
  const { problem } = findingsOf('folder');
  const above = await machine.nearest(folder);
  if (await machine.mayWrite(above)) return null;
  const owner = await machine.owner(above);
  const whose = owner === undefined ? '' : ` (owner ${owner.uid}, mode ${(owner.mode & 0o777).toString(8)})`;
  return problem(
    `User ${machine.userId ?? 'of this process'} may not write to ${above}${whose}.`,
    `Give it to that user (chown ${machine.userId ?? 'USER'} ${above}), or name another folder in ${setting}.`,
  );
}

export async function checkDisk(config: Config, machine: Look): Promise<Finding> {
  const { ok, unknown } = findingsOf('disk');
  const folder = config.server.stateDir;
  const space = await spaceAt(machine, folder);
  if (space === undefined) return unknown(`The space below ${folder} cannot be read.`);
  return diskFull(folder, space) ?? ok(`${formatSize(space.freeBytes)} free for ${folder}.`);
}

/** Null when there is room for what the gateway itself writes. */
export function diskFull(folder: string, space: Space): Finding | null {
  const { problem } = findingsOf('disk');
  const remedy = 'Free some, or name a folder on another disk in server.state_dir (GATEWAY_STATE_DIR).';
  if (space.freeBytes < STATE_NEEDS) {
    return problem(
      `The disk of ${folder} (server.state_dir) is full: ${formatSize(space.freeBytes)} of ${formatSize(space.totalBytes)} free, and records and logs need ${formatSize(STATE_NEEDS)}.`,
      remedy,
    );
  }
  if (space.countsFiles && space.freeFiles === 0)
    return problem(`The disk of ${folder} (server.state_dir) takes no more files: no inode is free.`, remedy);
  return null;
}

export async function checkSharedMemory(config: Config, machine: Look): Promise<Finding> {
  const { ok, problem, unknown } = findingsOf('shared memory');
  // A container without shm_size shares that of the host.
  const split = [...config.models.values()].filter(
    ({ driver, shmSize, tensorParallelSize }) =>
      tensorParallelSize > 1 && (driver === 'process' || (driver === 'docker' && shmSize === null)),
  );
  try {
    const { freeBytes, totalBytes } = await machine.space(SHARED);
    const told = `${SHARED} has ${formatSize(freeBytes)} of ${formatSize(totalBytes)} free`;
    if (split.length === 0) return ok(`${told}; no model here needs much of it.`);
    if (freeBytes >= SHARED_NEEDS) return ok(`${told}.`);
    return problem(
      `${told}; ${split.map(({ name }) => name).join(', ')} is split over GPUs and needs ${formatSize(SHARED_NEEDS)}.`,
      `mount -o remount,size=8G ${SHARED}; for a gateway in a container, --shm-size=8g or --ipc=host; for engines in containers, shm_size of the model.`,
    );
  } catch (error) {
    return unknown(`${SHARED} cannot be read (${codeOf(error)}).`);
  }
}
