/** Gives a folder to the user that the gateway runs as. Called as root, on a folder that others may be able to change. */
import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { resolve } from 'node:path';

/** A folder with more than this is not one that a gateway keeps its state in. */
const MOST_ENTRIES = 10_000;
const DEEPEST = 16;
/** Never a folder of state, whoever says so. */
const SYSTEM =
  /^\/(?:(?:app|bin|boot|dev|etc|home|lib|lib32|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)(?:\/(?:lib|local|run|tmp|log|config))?)?$/;
const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Changes the owner of the folder and of what is in it, where it is another one. Nothing outside can be reached: every name
 * is looked up in a folder that is held open, links are not followed, what is mounted below is not entered, and a file that
 * has a second name somewhere is left alone.
 *
 * @param {string} folder made when it is not there
 * @param {{ uid: number, gid: number }} owner
 * @param {readonly string[]} mounts mount points of this container
 * @returns {{ changed: number, left: string[] }} `left`: what was left alone, and why
 * @throws {Error} with a sentence for people when this is no folder to take over
 */
export function takeOver(folder, owner, mounts) {
  const path = resolve(folder);
  if (SYSTEM.test(path)) throw new Error(`${path} is a folder of the system; name one that the gateway has to itself`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const descriptor = open(path);
  try {
    // A link on the way there would have led somewhere else.
    const reached = readlinkSync(`/proc/self/fd/${descriptor}`);
    if (reached !== path) throw new Error(`${path} leads to ${reached}; name the folder itself`);
    const walk = { owner, mounts: new Set(mounts), entries: 0, changed: 0, left: [] };
    walkFolder(descriptor, path, 0, walk, () => undefined);
    if (walk.entries > MOST_ENTRIES) {
      throw new Error(`${path} holds more than ${MOST_ENTRIES} files; name a folder that the gateway has to itself`);
    }
    walk.entries = 0;
    walk.left = [];
    walkFolder(descriptor, path, 0, walk, changeOwner);
    if (fstatSync(descriptor).uid !== owner.uid) {
      fchownSync(descriptor, owner.uid, owner.gid);
      walk.changed += 1;
    }
    return { changed: walk.changed, left: walk.left };
  } finally {
    closeSync(descriptor);
  }
}

/** @param {string} path */
function open(path) {
  try {
    return openSync(path, OPEN_FOLDER);
  } catch (error) {
    if (error.code === 'ELOOP' || error.code === 'ENOTDIR')
      throw new Error(`${path} is not a folder`, { cause: error });
    throw error;
  }
}

/** `shown`: the path as people know it; every access goes through the open folder. */
function walkFolder(descriptor, shown, depth, walk, visit) {
  if (depth > DEEPEST) {
    walk.left.push(`${shown} (too deep)`);
    return;
  }
  for (const name of readdirSync(`/proc/self/fd/${descriptor}`)) {
    walk.entries += 1;
    if (walk.entries > MOST_ENTRIES) return;
    const at = `/proc/self/fd/${descriptor}/${name}`;
    const stats = lstatSync(at, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    if (walk.mounts.has(`${shown}/${name}`)) walk.left.push(`${shown}/${name} (mounted there)`);
    else if (stats.isDirectory()) walkInto(at, `${shown}/${name}`, depth, walk, visit);
    else visit(at, `${shown}/${name}`, stats, walk);
  }
}

function walkInto(at, shown, depth, walk, visit) {
  let inner;
  try {
    inner = openSync(at, OPEN_FOLDER);
  } catch (error) {
    // Somebody replaced it since it was looked at.
    if (error.code !== 'ENOENT' && error.code !== 'ELOOP' && error.code !== 'ENOTDIR') throw error;
    walk.left.push(`${shown} (it changed)`);
    return;
  }
  try {
    walkFolder(inner, shown, depth + 1, walk, visit);
    const stats = fstatSync(inner);
    if (visit === changeOwner && stats.uid !== walk.owner.uid) {
      fchownSync(inner, walk.owner.uid, walk.owner.gid);
      walk.changed += 1;
    }
  } finally {
    closeSync(inner);
  }
}

function changeOwner(at, shown, stats, walk) {
  if (stats.uid === walk.owner.uid) return;
  if (!stats.isFile()) walk.left.push(`${shown} (neither file nor folder)`);
  else if (stats.nlink > 1) walk.left.push(`${shown} (it has a second name)`);
  else {
    lchownSync(at, walk.owner.uid, walk.owner.gid);
    walk.changed += 1;
  }
}
