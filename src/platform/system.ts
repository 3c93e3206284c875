/** The real machine. Built once, in main.ts. */
import { createHash, createHmac } from 'node:crypto';
import { availableCores } from './cores.ts';
import { systemClock, systemRandom } from './clock.ts';
import { systemFiles } from './files.ts';
import { systemFolders } from './folder-watch.ts';
import { createHttpClient } from './http.ts';
import type { Platform } from './platform.ts';
import { systemSubprocess } from './subprocess.ts';

export function createPlatform(): Platform {
  return {
    clock: systemClock,
    random: systemRandom,
    files: systemFiles,
    folders: systemFolders,
    subprocess: systemSubprocess,
    http: createHttpClient(),
    env: { ...process.env },
    get cores() {
      return availableCores();
    },
    system: process.platform,
    executable: process.execPath,
    hmac: (key, text) => createHmac('sha256', key).update(text).digest('hex'),
    sha256: (text) => createHash('sha256').update(text).digest('hex'),
  };
}
