import type { App } from './app.ts';
import { kvTooSmall, NO_KV_MEMORY, noFreeMemory, outOfMemory, profilingRace } from './tracebacks.ts';
import { type FakeDevice, updateVram, usedMib } from './vram-file.ts';
import { ownerKey, ownerOf, startBeating } from './vram-owner.ts';

/** The start fails with these root-cause lines. */
export class MemoryFailure extends Error {}

const GIB = 1024;
const BYTES = 1024 * 1024;

/**
 * What this engine holds on the pretended devices, per device, and the arithmetic of vLLM's worker: a snapshot of the
 * whole device, the difference after profiling, the rest is KV cache. Neighbours that start meanwhile falsify it, as
 * they do in the real one.
 */
export class VramClaim {
  private readonly path: string;
  private readonly key: string;
  private readonly releaseMs: number | null;
  private readonly stopBeating: () => void;
  private readonly devices: readonly FakeDevice[];
  private held = 0;
  private freeAtStart: number[] = [];
  /** MiB of KV cache per device. */
  kvMib = 0;

  constructor(path: string, pid: number, releaseMs: number | null, visible: string | undefined, wanted: number) {
    this.path = path;
    this.key = ownerKey(ownerOf(pid));
    this.releaseMs = releaseMs;
    this.devices = updateVram(path, (vram) => pick(vram.devices, visible, wanted));
    // Another process that holds the claim shows its life itself.
    this.stopBeating = pid === process.pid ? startBeating(path, this.key) : (): void => undefined;
  }

  /** Total and free MiB of the first device, as they are now. */
  get first(): { readonly total: number; readonly free: number } {
    return { total: this.devices[0]?.total_mib ?? 0, free: this.free()[0] ?? 0 };
  }

  /** Free MiB of the first device when the engine looked before it loaded anything. */
  get firstFreeAtStart(): number {
    return this.freeAtStart[0] ?? 0;
  }

  get heldMib(): number {
    return this.held;
  }

  /** Holds so many MiB per device. @throws MemoryFailure when a device has not got them. */
  hold(mib: number): void {
    const failure = updateVram(this.path, (vram) => {
      for (const device of this.devices) {
        const free = device.total_mib - usedMib(vram, device);
        const more = mib - this.held;
        if (more > free) return outOfMemory(more, device.total_mib / GIB, Math.max(0, free));
      }
      const mibs = Object.fromEntries(this.devices.map((device) => [device.uuid, mib]));
      const { seen } = vram.claims[this.key] ?? {};
      vram.claims[this.key] = { mib: mibs, release_ms: this.releaseMs, ...(seen === undefined ? {} : { seen }) };
      return undefined;
    });
    if (failure !== undefined) throw new MemoryFailure(failure);
    this.held = mib;
  }

  /** The check right after the CUDA context exists. @throws MemoryFailure */
  snapshot(utilization: number): void {
    this.freeAtStart = this.free();
    for (const [index, device] of this.devices.entries()) {
      const free = this.freeAtStart[index] ?? 0;
      const wanted = device.total_mib * utilization;
      if (free < wanted) {
        throw new MemoryFailure(noFreeMemory(free / GIB, device.total_mib / GIB, utilization, wanted / GIB));
      }
    }
  }

  /** MiB left for KV after profiling; the smallest device counts. @throws MemoryFailure */
  profile(utilization: number, graphsMib: number): number {
    const freeNow = this.free();
    let kv = Number.POSITIVE_INFINITY;
    for (const [index, device] of this.devices.entries()) {
      const before = this.freeAtStart[index] ?? 0;
      const now = freeNow[index] ?? 0;
      if (before < now) throw new MemoryFailure(profilingRace(before / GIB, now / GIB));
      kv = Math.min(kv, device.total_mib * utilization - (before - now) - graphsMib);
    }
    return kv;
  }

  /** Gives everything back; the devices show it after the release lag. */
  release(): void {
    if (this.held === 0) return;
    this.held = 0;
    try {
      updateVram(this.path, (vram) => {
        const claim = vram.claims[this.key];
        if (claim === undefined) return;
        if (this.releaseMs === 0) delete vram.claims[this.key];
        else {
          const until = this.releaseMs === null ? Number.MAX_SAFE_INTEGER : Date.now() + this.releaseMs;
          vram.claims[this.key] = { ...claim, until };
        }
      });
    } catch {
      // The file may be gone with the test that made it.
    }
    this.stopBeating();
  }

  private free(): number[] {
    return updateVram(this.path, (vram) => this.devices.map((device) => device.total_mib - usedMib(vram, device)));
  }
}

/** Devices by index or uuid in what the environment lets see, the first `wanted` of them. */
function pick(devices: readonly FakeDevice[], visible: string | undefined, wanted: number): FakeDevice[] {
  const names = visible === undefined ? devices.map((device) => String(device.index)) : visible.split(',');
  const chosen: FakeDevice[] = [];
  for (const name of names) {
    const device = devices.find((one) => String(one.index) === name.trim() || one.uuid === name.trim());
    if (device === undefined) break;
    chosen.push(device);
  }
  if (chosen.length === 0) throw new MemoryFailure('RuntimeError: No CUDA GPUs are available');
  if (chosen.length < wanted) {
    throw new MemoryFailure(
      `ValueError: World size (${wanted}) is larger than the number of available GPUs (${chosen.length}) in this node.`,
    );
  }
  return chosen.slice(0, wanted);
}

/** `CUDA_VISIBLE_DEVICES`, else what a container runtime was told to show; undefined = all. */
export function visibleDevices(env: NodeJS.ProcessEnv): string | undefined {
  const shown = env['NVIDIA_VISIBLE_DEVICES'];
  const all = shown === undefined || ['', 'all', 'void', 'none'].includes(shown);
  return env['CUDA_VISIBLE_DEVICES'] ?? (all ? undefined : shown);
}

/** Tokens that fit into so much KV memory. @throws MemoryFailure when not even one request does. */
export function kvTokens(app: App, kvMib: number): number {
  const { knobs, options } = app;
  const perToken = knobs.kvBytesPerToken / options.tensorParallelSize;
  if (kvMib <= 0) throw new MemoryFailure(NO_KV_MEMORY);
  const blocks = Math.floor((kvMib * BYTES) / perToken / 16);
  const tokens = blocks * 16;
  if (tokens < options.maxModelLen) {
    const needed = (options.maxModelLen * perToken) / BYTES / GIB;
    throw new MemoryFailure(kvTooSmall(options.maxModelLen, needed, kvMib / GIB, tokens));
  }
  return tokens;
}
