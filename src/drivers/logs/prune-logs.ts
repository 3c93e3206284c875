import type { Files } from '../../platform/platform.ts';
import { MIB, type Bytes } from '../../units.ts';

/** Logs of engines that are gone stay for people to read, within these bounds; the oldest go first. */
export const MAX_KEPT_LOGS = 50;
export const MAX_KEPT_BYTES: Bytes = 256 * MIB;

/** Removes what is too much; returns the paths that are gone. `.1` files go with their log. */
export async function pruneLogs(files: Files, folder: string, held: ReadonlySet<string>): Promise<readonly string[]> {
  const names = (await files.list(folder)).filter((name) => name.endsWith('.log') && !held.has(`${folder}/${name}`));
  const logs = await Promise.all(
    names.map(async (name) => {
      const path = `${folder}/${name}`;
      const [current, old] = await Promise.all([files.stat(path), files.stat(`${path}.1`)]);
      return { path, size: (current?.size ?? 0) + (old?.size ?? 0), at: current?.modifiedAt ?? 0 };
    }),
  );
  const removed: string[] = [];
  let bytes = 0;
  for (const [index, log] of logs.toSorted((one, other) => other.at - one.at).entries()) {
    bytes += log.size;
    if (index < MAX_KEPT_LOGS && bytes <= MAX_KEPT_BYTES) continue;
    await files.remove(log.path);
    await files.remove(`${log.path}.1`);
    removed.push(log.path);
  }
  return removed;
}
