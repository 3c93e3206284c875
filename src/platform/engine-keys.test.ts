import { describe, expect, it } from 'vitest';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import { engineKeys } from './engine-keys.ts';

const ONE = { id: 'a-1', generation: 1 };

describe('engine keys', () => {
  it('are the same after a restart, and different for every replica and generation', async () => {
    const platform = createTestPlatform();
    const first = await engineKeys(platform, '/state');
    const again = await engineKeys(platform, '/state');
    expect(first.fresh).toBe(true);
    expect(again.fresh).toBe(false);
    expect(again.keyFor(ONE)).toBe(first.keyFor(ONE));
    const others = [ONE, { id: 'a-1', generation: 2 }, { id: 'a-2', generation: 1 }, { id: 'a-', generation: 11 }];
    expect(new Set(others.map((replica) => first.keyFor(replica))).size).toBe(4);
  });

  it('[B195] come of a secret that only the user of the gateway can read', async () => {
    const platform = createTestPlatform();
    await engineKeys(platform, '/state');
    expect(platform.files.modeOf('/state/secret')).toBe(0o600);
  });

  it.each(['', 'short', 'not hex at all'])('start anew, and say so, when the secret is lost (%j)', async (text) => {
    const platform = createTestPlatform();
    const before = (await engineKeys(platform, '/state')).keyFor(ONE);
    await platform.files.writeAtomic('/state/secret', text);
    const keys = await engineKeys(createTestPlatformWith(platform, 2), '/state');
    expect(keys.fresh).toBe(true);
    expect(keys.keyFor(ONE)).not.toBe(before);
    expect((await engineKeys(platform, '/state')).keyFor(ONE)).toBe(keys.keyFor(ONE));
  });
});

function createTestPlatformWith(platform: ReturnType<typeof createTestPlatform>, seed: number): typeof platform {
  return { ...platform, random: createTestPlatform({ seed }).random };
}
