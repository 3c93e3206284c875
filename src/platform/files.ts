import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  writeSync,
  promises as fs,
  close as closeCallback,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import type { Files } from './platform.ts';
import { announce, isAnnounced } from './presence.ts';

const COPY_BLOCK = 256 * 1024;
const DEFAULT_FILE_MODE = 0o600;
const DEFAULT_FOLDER_MODE = 0o700;

/**
 * Node's own `recursive` never ends where a file system takes no folder although the parent is there (`/proc`): it
 * blocks the process for good, signals included.
 */
async function makeFolders(path: string, mode: number): Promise<void> {
  const parent = dirname(path);
  try {
    await fs.mkdir(path, { mode });
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || parent === path) return existing(path, error);
    await makeFolders(parent, mode);
    await fs.mkdir(path, { mode }).catch((again: unknown) => existing(path, again));
  }
}

/** A folder that is there, or that somebody else made meanwhile, is what was asked for. */
async function existing(path: string, error: unknown): Promise<void> {
  const found = await fs.stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) throw error;
}

export const systemFiles: Files = {
  announce,
  isAnnounced,

  async readText(path) {
    try {
      return await fs.readFile(path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  },

  async readBytes(path, offset, length) {
    const file = await fs.open(path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return buffer.subarray(0, filled);
    } finally {
      await file.close();
    }
  },

  async writeAtomic(path, text, mode = DEFAULT_FILE_MODE) {
    const temporary = temporaryOf(path);
    try {
      await writeNew(temporary, text, mode);
      await fs.rename(temporary, path);
    } catch (error) {
      await fs.rm(temporary, { force: true });
      throw error;
    }
    await syncFolder(dirname(path));
  },

  async createExclusive(path, text, mode = DEFAULT_FILE_MODE) {
    const temporary = temporaryOf(path);
    try {
      await writeNew(temporary, text, mode);
      await linkOrCopy(temporary, path);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      throw error;
    } finally {
      await fs.rm(temporary, { force: true });
    }
    await syncFolder(dirname(path));
    return true;
  },

  async remove(path) {
    await fs.rm(path, { force: true });
  },

  async makeFolder(path, mode = DEFAULT_FOLDER_MODE) {
    await makeFolders(path, mode);
  },

  async list(path) {
    try {
      return (await fs.readdir(path)).toSorted();
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  },

  async stat(path) {
    try {
      const found = await fs.stat(path);
      const kind = found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other';
      return { kind, size: found.size, modifiedAt: found.mtimeMs };
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  },

  async openAppend(path) {
    // A plain descriptor, not a FileHandle: a collected FileHandle would close it under the child.
    const flags = constants.O_APPEND | constants.O_CREAT | constants.O_WRONLY;
    return openSync(path, flags, DEFAULT_FILE_MODE);
  },

  closeDescriptor(descriptor) {
    return new Promise((resolve, reject) => {
      closeCallback(descriptor, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  },

  copyTruncate,

  async rename(from, to) {
    await fs.rename(from, to);
  },
};

/**
 * What a writer appends between the last read and the truncation is lost, so the bulk is copied first, without blocking,
 * and the rest and the truncation happen in one go, microseconds apart.
 */
async function copyTruncate(path: string, to: string): Promise<void> {
  const temporary = `${to}.tmp`;
  const source = openSync(path, 'r+');
  let target: number | undefined;
  try {
    target = openSync(temporary, 'w', DEFAULT_FILE_MODE);
    const block = Buffer.allocUnsafe(COPY_BLOCK);
    let copied = 0;
    while (copyBlock(source, target, block, copied)) {
      copied += COPY_BLOCK;
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
    copied = copyRest(source, target, block, copied);
    renameSync(temporary, to);
    copyRest(source, target, block, copied);
    ftruncateSync(source, 0);
  } finally {
    closeSync(source);
    if (target !== undefined) closeSync(target);
  }
}

/** True when a whole block was there. */
function copyBlock(source: number, target: number, block: Buffer, at: number): boolean {
  const read = readSync(source, block, 0, COPY_BLOCK, at);
  if (read < COPY_BLOCK) return false;
  writeAll(target, block, read, at);
  return true;
}

function copyRest(source: number, target: number, block: Buffer, from: number): number {
  let copied = from;
  for (;;) {
    const read = readSync(source, block, 0, COPY_BLOCK, copied);
    if (read === 0) return copied;
    writeAll(target, block, read, copied);
    copied += read;
  }
}

function writeAll(target: number, block: Buffer, length: number, at: number): void {
  let written = 0;
  while (written < length) written += writeSync(target, block, written, length - written, at + written);
}

function temporaryOf(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}.tmp`;
}

async function writeNew(path: string, text: string, mode: number): Promise<void> {
  const file = await fs.open(path, 'wx', mode);
  try {
    await file.writeFile(text, 'utf8');
    await file.sync();
  } finally {
    await file.close();
  }
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Some shared file systems know no hard links: there a reader may see the beginning of the text. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await fs.link(from, to);
  } catch (error) {
    if (!NO_LINKS.has(codeOf(error) ?? '')) throw error;
    await fs.copyFile(from, to, constants.COPYFILE_EXCL);
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}
