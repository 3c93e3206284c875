/** The machine that this process runs on, as `doctor`, `check`, `init` and `bench` look at it. */
import { access, constants, mkdtemp, rm, stat, statfs } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { Bytes, Milliseconds } from '../units.ts';
import type { HttpAnswer } from './platform.ts';

export interface Space {
  /** For this process; what is kept for root does not count. */
  readonly freeBytes: Bytes;
  readonly totalBytes: Bytes;
  /** 0 also where the file system does not count them. */
  readonly freeFiles: number;
  readonly countsFiles: boolean;
}

export interface Owner {
  readonly uid: number;
  readonly mode: number;
}

export interface Machine {
  /** Null where there are no user ids. */
  readonly userId: number | null;
  /** Of the file system that holds `path`, or will hold it. */
  space(path: string): Promise<Space>;
  /** The path itself, or the nearest folder above it that exists. */
  nearest(path: string): Promise<string>;
  mayWrite(path: string): Promise<boolean>;
  /** Undefined when absent. */
  owner(path: string): Promise<Owner | undefined>;
  /** The file that a command stands for; null when there is none. */
  findCommand(name: string, searchPath: string): Promise<string | null>;
  /** One GET over a Unix socket. Rejects with `code` ENOENT, EACCES, ECONNREFUSED, ETIMEDOUT, … */
  getOverSocket(socket: string, path: string, timeout: Milliseconds): Promise<HttpAnswer>;
  /** A new folder of this process; disposing removes it with all that is in it. */
  temporaryFolder(name: string): Promise<{ readonly path: string } & AsyncDisposable>;
}

export const systemMachine: Machine = {
  userId: process.getuid?.() ?? null,

  async space(path) {
    const { bavail, blocks, bsize, ffree, files } = await statfs(await nearest(path));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, freeFiles: ffree, countsFiles: files > 0 };
  },

  nearest,

  mayWrite: (path) => may(path, constants.W_OK),

  async owner(path) {
    const found = await stat(path).catch(() => undefined);
    return found && { uid: found.uid, mode: found.mode };
  },

  async findCommand(name, searchPath) {
    const places = name.includes('/') ? [name] : searchPath.split(delimiter).map((folder) => join(folder, name));
    for (const place of places) {
      const found = await stat(place).catch(() => undefined);
      if (found?.isFile() === true && (await may(place, constants.X_OK))) return place;
    }
    return null;
  },

  getOverSocket,

  async temporaryFolder(name) {
    const path = await mkdtemp(join(tmpdir(), `${name}-`));
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  },
};

async function may(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

async function nearest(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if ((await stat(at).catch(() => undefined)) !== undefined || at === dirname(at)) return at;
  }
}

function getOverSocket(socketPath: string, path: string, timeout: Milliseconds): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, agent: false, headers: { host: 'localhost' } }, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.once('error', reject);
    });
    // The whole of it, not a silence: whoever trickles must not hold up a look.
    const limit = setTimeout(() => {
      asked.destroy(Object.assign(new Error(`no answer within ${timeout} ms`), { code: 'ETIMEDOUT' }));
    }, timeout);
    asked.once('error', reject);
    asked.once('close', () => clearTimeout(limit));
    asked.end();
  });
}
