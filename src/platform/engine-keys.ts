/**
 * Every engine has a key of its own, so that only this gateway can use it. Keys are derived from one secret of
 * `state_dir`, so that an engine that outlived the gateway can still be spoken to.
 */
import { join } from 'node:path';
import type { Platform } from './platform.ts';

export interface EngineKeys {
  /** The key of one engine process. */
  keyFor(replica: { readonly id: string; readonly generation: number }): string;
  /** The secret was made just now: engines of earlier runs, if any, hold keys that nobody knows. */
  readonly fresh: boolean;
}

const SECRET_DIGITS = 64;
const SECRET_MODE = 0o600;

export async function engineKeys(
  platform: Pick<Platform, 'files' | 'random' | 'hmac'>,
  stateDir: string,
): Promise<EngineKeys> {
  const path = join(stateDir, 'secret');
  const kept = (await platform.files.readText(path))?.trim();
  const usable = kept !== undefined && /^[0-9a-f]{64}$/.test(kept);
  const secret = usable ? kept : platform.random.hex(SECRET_DIGITS);
  if (!usable) {
    await platform.files.makeFolder(stateDir, 0o700);
    await platform.files.writeAtomic(path, `${secret}\n`, SECRET_MODE);
  }
  return {
    fresh: !usable,
    keyFor: (replica) => `vgw-${platform.hmac(secret, `${replica.id}\n${replica.generation}`)}`,
  };
}
