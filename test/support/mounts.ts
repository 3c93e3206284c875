/** Small and refusing file systems, where this process may make them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Ends with everything that was mounted over it. */
function mounted(folder: string): Disposable {
  return { [Symbol.dispose]: () => void spawnSync('umount', ['--lazy', folder]) };
}

/** `folder`, which must exist, holds so many KiB from now on. */
export function smallDisk(folder: string, kib: number): Disposable {
  run('mount', ['-t', 'tmpfs', '-o', `size=${kib}k,mode=700`, 'tmpfs', folder]);
  return mounted(folder);
}

/** Nothing in `folder` can be changed from now on; what is open for writing stays so. */
export function readOnly(folder: string): Disposable {
  run('mount', ['--bind', folder, folder]);
  run('mount', ['-o', 'remount,bind,ro', folder]);
  return mounted(folder);
}

function tried(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-mount-'));
  try {
    smallDisk(folder, 64)[Symbol.dispose]();
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const canMount = tried();
