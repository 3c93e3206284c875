import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { beats, dropBeat, isNeighbour, lives, ownNamespace, parseOwner, visiblePids } from './vram-owner.ts';

/** One pretended GPU; memory in MiB. `base_used_mib` belongs to nobody the machine can name. */
export interface FakeDevice {
  readonly index: number;
  readonly uuid: string;
  readonly name?: string;
  readonly total_mib: number;
  readonly base_used_mib?: number;
}

export interface Claim {
  /** MiB by device uuid. */
  readonly mib: Record<string, number>;
  /** Set once the owner is gone: the memory counts until then (Unix milliseconds). */
  readonly until?: number;
  /** How long it counts after its owner is gone; null = for ever. */
  readonly release_ms: number | null;
  /** Pid of the owner as another namespace numbers it, which can see it. */
  readonly seen?: { readonly namespace: string; readonly pid: number };
}

/** The shared file: pretended devices and who holds how much of them, by owner. */
export interface FakeVram {
  devices: FakeDevice[];
  claims: Record<string, Claim>;
  /** Scripted misbehaviour of the pretended `nvidia-smi`, comma separated. */
  smi_fault?: string;
}

const LOCK_STALE_MS = 2000;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Reads the file, drops what dead processes held, lets `change` edit it, writes it back. Atomic among processes. */
export function updateVram<T>(path: string, change: (vram: FakeVram) => T): T {
  const lock = `${path}.lock`;
  acquire(lock);
  try {
    const vram = readVram(path);
    expire(path, vram, Date.now());
    const result = change(vram);
    const next = `${path}.${process.pid}-${ownNamespace}.tmp`;
    writeFileSync(next, `${JSON.stringify(vram, null, 2)}\n`);
    renameSync(next, path);
    return result;
  } finally {
    rmSync(lock, { force: true });
  }
}

export function readVram(path: string): FakeVram {
  const value = JSON.parse(readFileSync(path, 'utf8')) as Partial<FakeVram>;
  return { ...value, devices: value.devices ?? [], claims: value.claims ?? {} };
}

/** MiB in use on a device, by everybody. */
export function usedMib(vram: FakeVram, device: FakeDevice): number {
  let used = device.base_used_mib ?? 0;
  for (const claim of Object.values(vram.claims)) used += claim.mib[device.uuid] ?? 0;
  return used;
}

/** Pid of an owner as this process would have to call it; undefined when it cannot see it. */
export function pidOf(key: string, claim: Claim): number | undefined {
  const owner = parseOwner(key);
  if (isNeighbour(owner)) return owner.pid;
  return claim.seen?.namespace === ownNamespace ? claim.seen.pid : undefined;
}

function expire(path: string, vram: FakeVram, now: number): void {
  let visible: ReadonlyMap<string, number> | undefined;
  for (const [key, claim] of Object.entries(vram.claims)) {
    if (claim.until === undefined) {
      const owner = parseOwner(key);
      if (!isNeighbour(owner)) visible ??= visiblePids();
      if (isNeighbour(owner) ? lives(owner) : livesElsewhere(path, vram, key, visible)) continue;
      const until = claim.release_ms === null ? Number.MAX_SAFE_INTEGER : now + claim.release_ms;
      vram.claims[key] = { ...claim, until };
    }
    if ((vram.claims[key]?.until ?? 0) > now) continue;
    delete vram.claims[key];
    dropBeat(path, key);
  }
}

/** Seen: it lives. Once seen from here and no longer: it does not. Never seen from here: as its beats say. */
function livesElsewhere(
  path: string,
  vram: FakeVram,
  key: string,
  visible: ReadonlyMap<string, number> | undefined,
): boolean {
  const claim = vram.claims[key];
  const pid = visible?.get(key);
  if (claim === undefined) return false;
  if (pid === undefined) return claim.seen?.namespace !== ownNamespace && beats(path, key);
  if (claim.seen?.namespace !== ownNamespace) {
    vram.claims[key] = { ...claim, seen: { namespace: ownNamespace, pid } };
  }
  return true;
}

function acquire(lock: string): void {
  for (let tries = 0; ; tries += 1) {
    try {
      closeSync(openSync(lock, 'wx'));
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      breakStale(lock);
      if (tries > 5000) throw new Error(`fake-vllm: ${lock} is held for too long`, { cause: error });
      Atomics.wait(sleeper, 0, 0, 1 + (tries % 5));
    }
  }
}

function breakStale(lock: string): void {
  try {
    if (Date.now() - statSync(lock).mtimeMs > LOCK_STALE_MS) rmSync(lock, { force: true });
  } catch {
    // Released meanwhile.
  }
}
