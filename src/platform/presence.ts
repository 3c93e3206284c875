/**
 * A sign of life that any process sees which sees the folder, in whatever container it runs: a Unix socket on which its
 * owner listens. The system takes the listener away with the process, however that ends; what stays is a file.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, dirname } from 'node:path';

/** Of `sun_path` with its final NUL; macOS has four bytes less. https://man7.org/linux/man-pages/man7/unix.7.html */
const LONGEST_PATH = 103;

/** A process that lacks something to ask with knows nothing of another one. */
const NOTHING_TO_ASK_WITH: ReadonlySet<string | undefined> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS']);
const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Runs `use` with a name of the path that is short enough for a socket. */
async function withShortName<T>(path: string, use: (path: string) => Promise<T>): Promise<T> {
  if (Buffer.byteLength(path) <= LONGEST_PATH || process.platform !== 'linux') return use(path);
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}

/**
 * Null where the file system has no sockets. The file goes with `Symbol.asyncDispose`, the sign with the process.
 * Rejects when this process may open no more.
 */
export async function announce(path: string): Promise<AsyncDisposable | null> {
  const server = createServer((socket) => socket.destroy());
  server.unref();
  try {
    await withShortName(
      path,
      (short) =>
        new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          server.listen(short, resolve);
        }),
    );
  } catch (error) {
    if (NOTHING_TO_ASK_WITH.has(codeOf(error))) throw error;
    return null;
  }
  // A connection that could not be taken is no trouble of ours: its owner has seen what it asked for.
  server.on('error', () => {});
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}

/** True while the process that announced itself there lives. Rejects when this process may open no more. */
export async function isAnnounced(path: string): Promise<boolean> {
  try {
    await withShortName(path, reach);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (NOTHING_TO_ASK_WITH.has(code)) throw error;
    // Somebody listens there whom we may not ask, or who has many askers: that is alive.
    return code === 'EACCES' || code === 'EAGAIN';
  }
}

/** Resolves when somebody listens there. */
function reach(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}
