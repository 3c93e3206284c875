/** What the gateway keeps between runs in `state_dir`: who it is, what is pinned, and the lock against a second gateway. */
import { join } from 'node:path';
import { LatestText } from './latest-text.ts';
import type { Files, Platform } from './platform.ts';

/** Another gateway holds the folder: exit code 3. */
export class StateDirHeld extends Error {
  constructor(folder: string, pid: number) {
    super(
      `state_dir ${folder} is held by another gateway (pid ${pid}). Stop it, or give this one its own server.state_dir.`,
    );
    this.name = 'StateDirHeld';
  }
}

export interface StateDir {
  readonly folder: string;
  /** Stays the same over restarts. */
  readonly gatewayId: string;
  /** A file that says nothing is put aside, and `damaged` told where it lies then. */
  readPins(damaged?: (aside: string) => void): Promise<readonly string[]>;
  writePins(models: readonly string[]): Promise<void>;
  /** Gives the lock back. */
  release(): Promise<void>;
}

/** Each attempt that fails means that another gateway came first, which the next one sees. */
const LOCK_ATTEMPTS = 8;
/** Folders of `state_dir` in which files are replaced, and how `Files` calls what it has not put into place yet. */
const WRITTEN_IN = ['', 'replicas', 'logs'] as const;
const STRAY_NAME = /\.tmp$/;
const ALIVE_NAME = /^gateway-[0-9a-f]{8}\.alive$/;

interface Lock {
  readonly pid: number;
  readonly startTime: number;
  /** Name of the file in the folder at which the holder shows that it lives; a pid means nothing in another container. */
  readonly alive: string | null;
}

export async function openStateDir(platform: Platform, folder: string, pid: number): Promise<StateDir> {
  const { files } = platform;
  await files.makeFolder(folder, 0o700);
  const lockPath = join(folder, 'gateway.lock');
  const presence = await announced(platform, folder);
  const facts = await platform.subprocess.inspect(pid);
  const lock: Lock = { pid, startTime: facts?.startTime ?? 0, alive: presence?.name ?? null };
  try {
    await takeLock(platform, folder, lockPath, lock);
  } catch (error) {
    await presence?.end();
    throw error;
  }
  await removeStrays(files, folder, lock.alive);
  const idPath = join(folder, 'gateway.id');
  const known = (await files.readText(idPath))?.trim();
  const gatewayId = known !== undefined && /^[0-9a-f]{12}$/.test(known) ? known : platform.random.hex(12);
  if (gatewayId !== known) await files.writeAtomic(idPath, `${gatewayId}\n`);
  const pinsPath = join(folder, 'pins.json');
  const pins = new LatestText(files, pinsPath);
  return {
    folder,
    gatewayId,
    async readPins(damaged) {
      const text = await files.readText(pinsPath);
      const pinned = parsePins(text);
      if (pinned !== undefined || text === undefined) return pinned ?? [];
      const aside = `${pinsPath}.bad-${Math.round(platform.clock.wall())}`;
      await files.rename(pinsPath, aside).catch(() => undefined);
      damaged?.(aside);
      return [];
    },
    writePins: (models) => pins.write(`${JSON.stringify(models)}\n`),
    release: async () => {
      await pins.written;
      const held = parseLock(await files.readText(lockPath));
      if (held?.pid === pid && held.alive === lock.alive) await files.remove(lockPath);
      await presence?.end();
    },
  };
}

/** What a gateway was writing when it was killed, and signs of none; only who holds the lock may say so. */
async function removeStrays(files: Files, folder: string, own: string | null): Promise<void> {
  for (const name of await files.list(folder).catch(() => [])) {
    if (!ALIVE_NAME.test(name) || name === own) continue;
    const path = join(folder, name);
    // One that lives has begun in this moment, and is about to see the lock.
    if (!(await files.isAnnounced(path).catch(() => true))) await files.remove(path).catch(() => undefined);
  }
  for (const place of WRITTEN_IN.map((name) => join(folder, name))) {
    for (const name of await files.list(place).catch(() => [])) {
      // On a disk that refuses it does no harm to leave them.
      if (STRAY_NAME.test(name)) await files.remove(join(place, name)).catch(() => undefined);
    }
  }
}

interface Presence {
  readonly name: string;
  end(): Promise<void>;
}

async function announced({ files, random }: Platform, folder: string): Promise<Presence | null> {
  const name = `gateway-${random.hex(8)}.alive`;
  const sign = await files.announce(join(folder, name));
  if (sign === null) return null;
  return {
    name,
    async end() {
      await sign[Symbol.asyncDispose]();
      await files.remove(join(folder, name));
    },
  };
}

/** A lock of a process that is gone (or whose pid is another process by now) is taken over. */
async function takeLock(platform: Platform, folder: string, path: string, lock: Lock): Promise<void> {
  const { files } = platform;
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt += 1) {
    const text = await files.readText(path);
    const held = parseLock(text);
    if (held && (await lives(platform, folder, held, lock))) throw new StateDirHeld(folder, held.pid);
    if (text !== undefined) await putAside(files, path, text);
    if (await files.createExclusive(path, `${JSON.stringify(lock)}\n`)) {
      if (held?.alive) await files.remove(join(folder, held.alive));
      return;
    }
  }
  throw new Error(`the lock ${path} cannot be taken: others take it again and again`);
}

async function lives({ files, subprocess }: Platform, folder: string, held: Lock, own: Lock): Promise<boolean> {
  if (held.alive !== null && (await files.isAnnounced(join(folder, held.alive)))) return true;
  // Its sign may have been swept away from under it; two gateways would end each other's engines.
  if (held.pid === own.pid) return false;
  const facts = await subprocess.inspect(held.pid);
  return facts !== undefined && facts.startTime === held.startTime && facts.state !== 'Z';
}

/** Others may take over the same stale lock: whoever moved a new one away by mistake puts it back. */
async function putAside(files: Files, path: string, stale: string): Promise<void> {
  const aside = `${path}.stale`;
  try {
    await files.rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = await files.readText(aside);
  if (moved !== undefined && moved !== stale) await files.createExclusive(path, moved);
  await files.remove(aside);
}

/** Also what a version without `alive` wrote. A name that leads out of the folder is none of ours. */
function parseLock(text: string | undefined): Lock | undefined {
  const value = parse(text);
  if (typeof value !== 'object' || value === null || !('pid' in value) || !('startTime' in value)) return undefined;
  const { pid, startTime } = value;
  if (typeof pid !== 'number' || typeof startTime !== 'number') return undefined;
  const alive = 'alive' in value && typeof value.alive === 'string' ? value.alive : null;
  return { pid, startTime, alive: alive !== null && ALIVE_NAME.test(alive) ? alive : null };
}

function parsePins(text: string | undefined): readonly string[] | undefined {
  const value = parse(text);
  return Array.isArray(value) ? value.filter((name): name is string => typeof name === 'string') : undefined;
}

/** A file that does not parse counts as absent: it is a cache of what the operator can say again. */
function parse(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
