/**
 * The only door to time, randomness, files, processes and plain HTTP. Built once in main.ts and passed down; the
 * simulation and the shell tests pass their own. No other folder touches `Date`, timers, `Math.random` or `process`.
 */
import type { Bytes, Milliseconds } from '../units.ts';

export interface Clock {
  /** Milliseconds on a clock that never goes back; the zero is arbitrary. All decisions use this one. */
  monotonic(): Milliseconds;
  /** Milliseconds since the Unix epoch; may jump. For logs, records and `created` fields only. */
  wall(): Milliseconds;
  /** Runs `run` once, `delay` ms from now (clamped to [0, TIMER_MAX]). Disposing cancels. Never keeps the process alive by itself. */
  after(delay: Milliseconds, run: () => void): Disposable;
  /** Runs `run` once, when all that can be read now has been read: what many readings cause can be done together. */
  afterReads(run: () => void): void;
  /** Resolves after `delay` ms; rejects with the signal's reason when aborted. */
  sleep(delay: Milliseconds, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` lower-case hex digits. */
  hex(length: number): string;
}

export interface FileStat {
  readonly kind: 'file' | 'folder' | 'other';
  readonly size: Bytes;
  readonly modifiedAt: Milliseconds;
}

/** Every method rejects with Node's own error (`code` set) unless its comment says otherwise. */
export interface Files {
  /** UTF-8 text; undefined when absent. */
  readText(path: string): Promise<string | undefined>;
  /** Up to `length` bytes from `offset`; empty at the end of the file. */
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** Old or new content, never a mixture: temporary file, fsync, rename, fsync of the folder. */
  writeAtomic(path: string, text: string, mode?: number): Promise<void>;
  /** As `writeAtomic`, but only where nothing is: false, and no change, when the path exists. One of many at once gets true. */
  createExclusive(path: string, text: string, mode?: number): Promise<boolean>;
  remove(path: string): Promise<void>;
  makeFolder(path: string, mode?: number): Promise<void>;
  /** Names in a folder, sorted; empty when the folder is absent. */
  list(path: string): Promise<readonly string[]>;
  /** Undefined when absent. */
  stat(path: string): Promise<FileStat | undefined>;
  /** Opens for appending (O_APPEND | O_CREAT, mode 0600) and returns the descriptor, for a child's stdout and stderr. */
  openAppend(path: string): Promise<number>;
  closeDescriptor(descriptor: number): Promise<void>;
  /** Copies to `to`, then truncates in place, so that an O_APPEND writer goes on at the start. */
  copyTruncate(path: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /**
   * Shows at this path, where nothing may be, that this process lives: to processes of other containers too, and never
   * longer than it does. Null where the file system cannot.
   */
  announce(path: string): Promise<AsyncDisposable | null>;
  /** True while the process that announced itself at this path lives. */
  isAnnounced(path: string): Promise<boolean>;
}

export interface ChildExit {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface Child {
  readonly pid: number;
  /** Resolves once, on `exit` (not `close`: a grandchild may hold the descriptors). */
  readonly exited: Promise<ChildExit>;
}

export interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** Start time in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it names a process for good. */
  readonly startTime: number;
  /** One letter, `Z` = zombie. */
  readonly state: string;
  readonly command: string;
}

export interface Subprocess {
  /**
   * Starts `argv[0]` in a process group and session of its own with stdin closed and stdout and stderr on the given
   * descriptors. Rejects (ENOENT, EACCES, …) when it cannot be started.
   */
  spawn(
    argv: readonly string[],
    options: { readonly env: Readonly<Record<string, string>>; readonly output: number; readonly cwd?: string },
  ): Promise<Child>;
  /** Runs to the end and returns its output; kills the group after `timeout`, or when `signal` says so. */
  run(
    argv: readonly string[],
    options: {
      readonly timeout: Milliseconds;
      readonly maxOutput?: Bytes;
      readonly env?: Readonly<Record<string, string>>;
      readonly signal?: AbortSignal;
    },
  ): Promise<ChildExit & { readonly stdout: string; readonly stderr: string; readonly timedOut: boolean }>;
  /** False when there is no such process or group. A negative pid is a group. */
  signal(pid: number, name: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGCONT' | 'SIGSTOP'): boolean;
  /** Facts from /proc; undefined when the process is gone. */
  inspect(pid: number): Promise<ProcessFacts | undefined>;
  /** All processes whose environment holds `name=value`; unreadable ones are left out. Zombies are left out. */
  findByEnvironment(name: string, value: string): Promise<readonly ProcessFacts[]>;
  /** All live (non-zombie) processes of a process group. */
  group(pgid: number): Promise<readonly ProcessFacts[]>;
  /** True when nothing listens on host:port and it can be bound. */
  portIsFree(host: string, port: number): Promise<boolean>;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  /** Names in lower case, repeated fields joined by commas. A scripted client may leave them out. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The body as it came, where `binary` asked for it; `body` is empty then. */
  readonly bytes?: Uint8Array;
}

/** Small control requests (health, metrics, hub): never the data plane. */
export interface HttpClient {
  /** Rejects with `code` ECONNREFUSED, ETIMEDOUT, … ; the body is cut at `maxBytes` (default 4 MiB). Never follows redirects. */
  get(
    url: string,
    options: {
      readonly timeout: Milliseconds;
      readonly headers?: Readonly<Record<string, string>>;
      readonly maxBytes?: Bytes;
      readonly signal?: AbortSignal;
      /** HEAD asks for the headers alone. */
      readonly method?: 'GET' | 'HEAD';
      readonly binary?: boolean;
      /** It leaves the machine: through the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), if any. */
      readonly outside?: boolean;
    },
  ): Promise<HttpAnswer>;
  close(): Promise<void>;
}

/** A folder whose entries are watched, and which one: a folder that takes the place of another is another one. */
export interface WatchedFolder {
  readonly path: string;
  readonly identity: string;
}

export interface FolderWatch {
  /** Where a change of what is read at `path` would be seen: its own folder and those of every link on the way; those that are there. */
  foldersOf(path: string): Promise<readonly WatchedFolder[]>;
  /** `changed`: an entry came, went or was written. `failed`: it is not watched any more. Throws when it cannot be watched. */
  watch(folder: string, changed: () => void, failed: () => void): Disposable;
}

export interface Platform {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly subprocess: Subprocess;
  readonly http: HttpClient;
  /** Absent where nobody tells of changes: then whoever wants to know looks again and again. */
  readonly folders?: FolderWatch;
  /** The process environment at start. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Processors that this process may use; absent = one. */
  readonly cores?: number;
  /** The operating system, as Node names it; absent = one that can do everything. */
  readonly system?: string;
  /** Absolute path of the running Node binary: what starts our own tools as child processes. */
  readonly executable: string;
  /** HMAC-SHA-256, lower-case hex. */
  hmac(key: string, text: string): string;
  /** SHA-256, lower-case hex. */
  sha256(text: string): string;
}
