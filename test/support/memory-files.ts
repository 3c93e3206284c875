/** Files in memory. Paths are compared as they are written; folders exist as soon as something lies in them. */
import type { Clock, Files, FileStat } from '../../src/platform/platform.ts';
import type { Milliseconds } from '../../src/units.ts';

interface MemoryFile {
  bytes: Uint8Array;
  mode: number;
  modifiedAt: Milliseconds;
}

const EMPTY = new Uint8Array(0);

export class MemoryFiles implements Files {
  readonly #clock: Clock;
  readonly #files = new Map<string, MemoryFile>();
  readonly #folders = new Set<string>();
  readonly #descriptors = new Map<number, string>();
  readonly #announced = new Set<string>();
  #nextDescriptor = 100;
  /** Set to make every write fail with this code, e.g. `ENOSPC`. */
  failWrites: string | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async readText(path: string): Promise<string | undefined> {
    const file = this.#files.get(path);
    return file === undefined ? undefined : new TextDecoder().decode(file.bytes);
  }

  async readBytes(path: string, offset: number, length: number): Promise<Uint8Array> {
    const file = this.#files.get(path);
    if (file === undefined) throw failure('ENOENT', path);
    return file.bytes.slice(offset, offset + length);
  }

  async writeAtomic(path: string, text: string, mode = 0o600): Promise<void> {
    this.#checkWrite(path);
    this.#files.set(path, { bytes: new TextEncoder().encode(text), mode, modifiedAt: this.#clock.wall() });
  }

  async createExclusive(path: string, text: string, mode?: number): Promise<boolean> {
    if (this.#files.has(path)) return false;
    await this.writeAtomic(path, text, mode);
    return true;
  }

  async remove(path: string): Promise<void> {
    this.#files.delete(path);
    this.#announced.delete(path);
  }

  async makeFolder(path: string): Promise<void> {
    this.#checkWrite(path);
    this.#folders.add(path);
  }

  async announce(path: string): Promise<AsyncDisposable> {
    this.#announced.add(path);
    return { [Symbol.asyncDispose]: async () => void this.#announced.delete(path) };
  }

  async isAnnounced(path: string): Promise<boolean> {
    return this.#announced.has(path);
  }

  async list(path: string): Promise<readonly string[]> {
    const prefix = path.endsWith('/') ? path : `${path}/`;
    const names = new Set<string>();
    for (const known of [...this.#files.keys(), ...this.#folders, ...this.#announced]) {
      if (!known.startsWith(prefix)) continue;
      const name = known.slice(prefix.length).split('/')[0];
      if (name !== undefined && name !== '') names.add(name);
    }
    return [...names].toSorted();
  }

  async stat(path: string): Promise<FileStat | undefined> {
    const file = this.#files.get(path);
    if (file !== undefined) return { kind: 'file', size: file.bytes.length, modifiedAt: file.modifiedAt };
    const folder = this.#folders.has(path) || (await this.list(path)).length > 0;
    return folder ? { kind: 'folder', size: 0, modifiedAt: this.#clock.wall() } : undefined;
  }

  async openAppend(path: string): Promise<number> {
    this.#checkWrite(path);
    if (!this.#files.has(path)) this.#files.set(path, { bytes: EMPTY, mode: 0o600, modifiedAt: this.#clock.wall() });
    const descriptor = this.#nextDescriptor++;
    this.#descriptors.set(descriptor, path);
    return descriptor;
  }

  async closeDescriptor(descriptor: number): Promise<void> {
    if (!this.#descriptors.delete(descriptor)) throw failure('EBADF', String(descriptor));
  }

  async copyTruncate(path: string, to: string): Promise<void> {
    const file = this.#files.get(path);
    if (file === undefined) throw failure('ENOENT', path);
    this.#files.set(to, { ...file });
    file.bytes = EMPTY;
  }

  async rename(from: string, to: string): Promise<void> {
    const file = this.#files.get(from);
    if (file === undefined) throw failure('ENOENT', from);
    this.#files.delete(from);
    this.#files.set(to, file);
  }

  /** Descriptors that were opened and not closed. */
  get openDescriptors(): number {
    return this.#descriptors.size;
  }

  /** The path behind a descriptor: what a scripted process writes to. */
  pathOf(descriptor: number): string | undefined {
    return this.#descriptors.get(descriptor);
  }

  /** Appends as a process that holds the file open would. */
  append(path: string, text: string): void {
    const added = new TextEncoder().encode(text);
    const file = this.#files.get(path) ?? { bytes: EMPTY, mode: 0o600, modifiedAt: 0 };
    const bytes = new Uint8Array(file.bytes.length + added.length);
    bytes.set(file.bytes);
    bytes.set(added, file.bytes.length);
    this.#files.set(path, { ...file, bytes, modifiedAt: this.#clock.wall() });
  }

  /** Mode bits as asked for; undefined when absent. */
  modeOf(path: string): number | undefined {
    return this.#files.get(path)?.mode;
  }

  #checkWrite(path: string): void {
    if (this.failWrites !== null) throw failure(this.failWrites, path);
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
