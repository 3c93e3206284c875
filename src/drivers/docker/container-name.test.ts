import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { containerName } from './launcher.ts';

const PLATFORM = { sha256: (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex') };
/** What the Docker daemon takes for a name. */
const ALLOWED = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

const nameOf = (id: string, generation = 1): string =>
  containerName(
    'vllm_server',
    { id, generation, model: id, gatewayId: 'g' } as Parameters<typeof containerName>[1],
    PLATFORM,
  );

describe('the name of a container', () => {
  it.each(['../../etc/passwd', 'a/b', 'ü😀', '-rf', ' ', 'x\ny', 'x'.repeat(300), '$(id)', '', 'a\u0000b'])(
    '[B199] is one that Docker takes, whatever the replica is called: %j',
    (id) => {
      expect(nameOf(id)).toMatch(ALLOWED);
      expect(nameOf(id).length).toBeLessThan(150);
    },
  );

  it('[B199] is another one for every replica and generation', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.string({ unit: 'binary', maxLength: 20 }),
        (one, other) => {
          expect(nameOf(one)).toMatch(ALLOWED);
          expect(nameOf(one, 1)).not.toBe(nameOf(one, 2));
          if (one !== other) expect(nameOf(one)).not.toBe(nameOf(other));
        },
      ),
    );
    expect(nameOf('x'.repeat(200))).not.toBe(nameOf('x'.repeat(201)));
    expect(nameOf('a/b')).not.toBe(nameOf('a-b'));
  });
});
