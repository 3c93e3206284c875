import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Which models were fetched, as empty files beside each other; without a folder nothing is remembered. */

const marker = (folder: string, repo: string): string => join(folder, `models--${repo.replaceAll('/', '--')}`);

export function isCached(folder: string | undefined, repo: string): boolean {
  return folder !== undefined && existsSync(marker(folder, repo));
}

export function remember(folder: string | undefined, repo: string): void {
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(marker(folder, repo), '');
}
