/** Folders, watched with inotify: an editor replaces a file, so a watch on the file itself would see the last of the old one. */
import { watch } from 'node:fs';
import { readlink, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { FolderWatch, WatchedFolder } from './platform.ts';

/** As the kernel: a longer chain is a loop. */
const MOST_LINKS = 40;

export const systemFolders: FolderWatch = {
  async foldersOf(path) {
    const folders = new Map<string, WatchedFolder>();
    let next: string | null = resolve(path);
    for (let links = 0; next !== null && links < MOST_LINKS; links += 1) next = await step(next, folders);
    return [...folders.values()];
  },

  watch(folder, changed, failed) {
    // What changed is not told: of a rename only one end may be, and a link on the way has another name than the file.
    const watcher = watch(folder, { persistent: false }, () => changed());
    watcher.on('error', () => {
      watcher.close();
      failed();
    });
    return { [Symbol.dispose]: () => watcher.close() };
  },
};

/** Enters the folders of every part of this path that is a link, and its own; returns what the first link leads to. */
async function step(path: string, folders: Map<string, WatchedFolder>): Promise<string | null> {
  const parts = path.split('/');
  for (let length = 2; length <= parts.length; length += 1) {
    const part = parts.slice(0, length).join('/');
    const target = await readlink(part).catch(() => null);
    if (target === null) continue;
    await enter(dirname(part), folders);
    return resolve(dirname(part), target, ...parts.slice(length));
  }
  await enter(dirname(path), folders);
  return null;
}

async function enter(path: string, folders: Map<string, WatchedFolder>): Promise<void> {
  // A folder that is not there has nothing to watch; it is looked for again.
  const found = await stat(path, { bigint: true }).catch(() => null);
  if (found?.isDirectory() === true) folders.set(path, { path, identity: `${found.dev}:${found.ino}` });
}
