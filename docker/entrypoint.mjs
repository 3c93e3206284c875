/**
 * The first program of the image. Starts as root, because only root may read a socket's group and give away a folder;
 * is an ordinary user before the gateway is even loaded. Then it *is* the gateway: same process, so that signals of
 * Docker reach it without a relay. Needs no packages.
 */
import { accessSync, chmodSync, constants } from 'node:fs';
import process from 'node:process';
import { dropPrivileges } from './drop-privileges.mjs';
import { mountedSockets, readMountPoints } from './mounts.mjs';
import { takeOver } from './take-over.mjs';

const USER = { uid: 10_001, gid: 10_001 };
const ROOT_HOME = '/root';
const PROGRAM = new URL('../dist/src/main.js', import.meta.url);
/** As the program itself ends when it cannot start: usage or configuration. */
const EXIT_USAGE = 2;
const EXIT_BUG = 70;

/** @param {string} text */
const say = (text) => process.stderr.write(`vllm-gateway image: ${text}\n`);

/** @param {readonly string[]} mounts */
function giveUpRoot(mounts) {
  const sockets = mountedSockets(mounts);
  const groups = [...new Set(sockets.flatMap(({ group }) => group ?? []))];
  // The model cache is usually mounted below root's home: readable by all, behind a door that is not.
  if (mounts.some((path) => path.startsWith(`${ROOT_HOME}/`)))
    tryTo('open the way to it', () => chmodSync(ROOT_HOME, 0o711));
  tryTo('take over the state', () => {
    const folder = process.env.GATEWAY_STATE_DIR || '/app/data';
    const { changed, left } = takeOver(folder, USER, mounts);
    if (changed > 0) say(`${folder}: ${changed} ${changed === 1 ? 'entry' : 'entries'} given to user ${USER.uid}`);
    if (left.length > 0) say(`${folder}: left as they are: ${left.slice(0, 10).join(', ')}`);
  });
  dropPrivileges(USER, groups);
  say(`runs as user ${USER.uid}${groups.length > 0 ? `, group ${groups.join(', ')}` : ''}`);
  return sockets;
}

/** What root may not do either (a read-only folder, capabilities taken away) is said, and shows later if it matters. */
function tryTo(what, run) {
  try {
    run();
  } catch (error) {
    if (error.code === undefined) throw error;
    say(`cannot ${what}: ${error.message}`);
  }
}

/** @param {readonly { path: string }[]} sockets */
function checkSockets(sockets) {
  for (const { path } of sockets) {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
    } catch (error) {
      say(
        `${path} cannot be used by user ${process.getuid()} and groups ${process.getgroups().join(', ')}: ${error.code}`,
      );
    }
  }
}

try {
  const mounts = readMountPoints();
  // Started as somebody else (`user:` in Compose, `--user`): that user and its groups are the operator's choice.
  checkSockets(process.getuid() === 0 ? giveUpRoot(mounts) : mountedSockets(mounts));
} catch (error) {
  say(error.message);
  process.exit(error.message.startsWith('root could not') ? EXIT_BUG : EXIT_USAGE);
}
process.argv = [process.execPath, PROGRAM.pathname, ...process.argv.slice(2)];
await import(PROGRAM.href);
