import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';

/** One pretended GPU; memory in MiB. `base_used_mib` belongs to nobody the machine can name. */
export interface FakeDevice {
  readonly index: number;
  readonly uuid: string;
  readonly name?: string;
  readonly total_mib: number;
  readonly base_used_mib?: number;
}

interface Claim {
  /** MiB by device uuid. */
  readonly mib: Record<string, number>;
  /** Set once the owner is gone: the memory counts until then (Unix milliseconds). */
  readonly until?: number;
  readonly release_ms: number;
}

/** The shared file: pretended devices and who holds how much of them. */
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
    expire(vram, Date.now());
    const result = change(vram);
    const next = `${path}.${process.pid}.tmp`;
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

function expire(vram: FakeVram, now: number): void {
  for (const [pid, claim] of Object.entries(vram.claims)) {
    if (claim.until === undefined) {
      if (alive(Number(pid))) continue;
      vram.claims[pid] = { ...claim, until: now + claim.release_ms };
    }
    if ((vram.claims[pid]?.until ?? 0) <= now) delete vram.claims[pid];
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    // A zombie nobody waited for holds no memory any more.
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
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
