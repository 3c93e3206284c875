/**
 * Tells when the content of any of some files has become another one. Quickly where the system tells of changes, else by
 * looking: content is compared, so neither a storm of events nor a file that was only touched means anything.
 */
import { SECOND, type Milliseconds } from '../units.ts';
import type { FolderWatch, Platform } from './platform.ts';

/** Whatever happens in a folder, happens in several steps: so long nothing may … */
const QUIET: Milliseconds = 250;
/** … unless it never stops. */
const LONGEST_STORM: Milliseconds = 2 * SECOND;
/** What a shell redirects into a file is cut to nothing at once, and comes when its program has something to say. */
const SETTLED: Milliseconds = SECOND;
/** Changes that no event told of: network file systems, a folder that came late. */
const LOOK_EVERY: Milliseconds = 5 * SECOND;
const LOOK_EVERY_BLIND: Milliseconds = SECOND;
const BLOCK = 64 * 1024;
/** Of a larger file only the beginning is compared. */
const MOST_BLOCKS = 32;

export interface FileWatchOptions {
  readonly platform: Pick<Platform, 'clock' | 'files' | 'folders' | 'sha256'>;
  /** Some content has become another one and stayed so for a second, or was seen for the first time. */
  readonly changed: () => void;
}

interface Watching {
  readonly identity: string;
  readonly handle: Disposable;
}

interface Unsettled {
  readonly contents: ReadonlyMap<string, string>;
  readonly since: Milliseconds;
}

export class FileWatch implements Disposable {
  readonly #options: FileWatchOptions;
  #paths: readonly string[] = [];
  /** Path → what it held when last told of. */
  #known: ReadonlyMap<string, string> = new Map();
  /** What they hold now, which may not be all yet. */
  #unsettled: Unsettled | null = null;
  readonly #folders = new Map<string, Watching>();
  /** A folder that is there could not be watched. */
  #blind: boolean;
  #timer: Disposable | null = null;
  #stormSince: Milliseconds | null = null;
  #looking: Promise<void> | null = null;
  #again = false;
  #closed = false;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#blind = options.platform.folders === undefined;
  }

  /** From now on these files, absolute paths; those that are not there are waited for. */
  follow(paths: readonly string[]): void {
    this.#paths = paths;
    this.#known = new Map([...this.#known].filter(([path]) => paths.includes(path)));
    this.#arm(QUIET);
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    while (this.#looking !== null) await this.#looking;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    for (const { handle } of this.#folders.values()) handle[Symbol.dispose]();
    this.#folders.clear();
  }

  #arm(delay: Milliseconds): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#closed ? null : this.#options.platform.clock.after(delay, () => this.#due());
  }

  /** Something happened in a folder. */
  #stirred(): void {
    const now = this.#options.platform.clock.monotonic();
    this.#stormSince ??= now;
    const least = Math.min(this.#stormSince + LONGEST_STORM, this.#settlesAt() ?? Infinity) - now;
    this.#arm(Math.max(0, Math.min(QUIET, least)));
  }

  #settlesAt(): Milliseconds | null {
    return this.#unsettled && this.#unsettled.since + SETTLED;
  }

  #due(): void {
    this.#timer = null;
    if (this.#looking !== null) {
      this.#again = true;
      return;
    }
    this.#stormSince = null;
    this.#looking = this.#look().finally(() => {
      this.#looking = null;
      const settlesAt = this.#settlesAt();
      const settles = settlesAt === null ? Infinity : settlesAt - this.#options.platform.clock.monotonic();
      const pause = this.#again ? QUIET : this.#blind ? LOOK_EVERY_BLIND : LOOK_EVERY;
      this.#again = false;
      if (this.#timer === null) this.#arm(Math.max(0, Math.min(pause, settles)));
    });
  }

  async #look(): Promise<void> {
    // First the watches, then the contents: what changes in between is told.
    await this.#watchFolders();
    const seen = await this.#contents();
    if (this.#closed) return;
    if (this.#known.size > 0 && !this.#isSettled(seen)) return;
    this.#unsettled = null;
    if (isSame(this.#known, seen)) return;
    this.#known = seen;
    this.#options.changed();
  }

  /** They are as they were, or have been as they are for long enough. */
  #isSettled(seen: ReadonlyMap<string, string>): boolean {
    if (isSame(this.#known, seen)) return true;
    const now = this.#options.platform.clock.monotonic();
    if (this.#unsettled === null || !isSame(this.#unsettled.contents, seen)) {
      this.#unsettled = { contents: seen, since: now };
    }
    return now - this.#unsettled.since >= SETTLED;
  }

  async #contents(): Promise<ReadonlyMap<string, string>> {
    const contents = new Map<string, string>();
    for (const path of this.#paths) contents.set(path, await this.#contentOf(path));
    return contents;
  }

  async #contentOf(path: string): Promise<string> {
    const { files, sha256 } = this.#options.platform;
    try {
      const found = await files.stat(path);
      if (found?.kind !== 'file') return found?.kind ?? 'absent';
      const digests: string[] = [];
      for (let block = 0; block < MOST_BLOCKS; block += 1) {
        const bytes = await files.readBytes(path, block * BLOCK, BLOCK);
        if (bytes.length === 0) break;
        digests.push(sha256(Buffer.from(bytes).toString('latin1')));
      }
      return digests.join(' ');
    } catch (error) {
      return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'unreadable';
    }
  }

  async #watchFolders(): Promise<void> {
    const { folders } = this.#options.platform;
    if (folders === undefined) return;
    const wanted = new Map<string, string>();
    for (const path of this.#paths) {
      for (const folder of await folders.foldersOf(path)) wanted.set(folder.path, folder.identity);
    }
    if (this.#closed) return;
    for (const [path, { identity, handle }] of this.#folders) {
      if (wanted.get(path) === identity) continue;
      handle[Symbol.dispose]();
      this.#folders.delete(path);
    }
    this.#blind = false;
    for (const [path, identity] of wanted) {
      if (!this.#folders.has(path)) this.#watch(folders, path, identity);
    }
  }

  #watch(folders: FolderWatch, path: string, identity: string): void {
    const lost = (): void => {
      if (this.#folders.get(path)?.identity === identity) this.#folders.delete(path);
      this.#stirred();
    };
    try {
      this.#folders.set(path, { identity, handle: folders.watch(path, () => this.#stirred(), lost) });
    } catch {
      // No inotify here, or none left (ENOSPC): it is looked at more often instead.
      this.#blind = true;
    }
  }
}

/** What `seen` holds, `known` holds. */
function isSame(known: ReadonlyMap<string, string>, seen: ReadonlyMap<string, string>): boolean {
  return [...seen].every(([path, content]) => known.get(path) === content);
}
