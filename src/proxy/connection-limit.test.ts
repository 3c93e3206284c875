import { describe, expect, it } from 'vitest';
import { connectionLimit, controlLimit } from './connection-limit.ts';

const limitOf = (limits: string | undefined): Promise<number> => connectionLimit({ readText: async () => limits });
const open = (soft: number | string): string =>
  `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft}    ${soft}    files\n`;

describe('the number of clients', () => {
  it.each([
    [1_048_576, 16_384],
    [4_096, 3_584],
    [1_024, 512],
    [256, 80],
    [64, 16],
    ['unlimited', 16_384],
  ] as const)('leaves others their share of %s descriptors [I-95]', async (descriptors, clients) => {
    expect(await limitOf(open(descriptors))).toBe(clients);
  });

  it.each([4_096, 1_024, 512, 256])(
    'and of operators, both full, leaves what ends engines of %i descriptors',
    async (descriptors) => {
      const clients = await limitOf(open(descriptors));
      // Some requests in flight, with a connection to their engine each, beside the gateway's own files.
      expect(descriptors - clients - controlLimit(clients)).toBeGreaterThanOrEqual(96 + 60);
      expect(controlLimit(clients)).toBeGreaterThanOrEqual(16);
    },
  );

  it('is our own where the system does not tell its limit', async () => {
    expect(await limitOf(undefined)).toBe(16_384);
    expect(await limitOf('Max processes 10 10 processes\n')).toBe(16_384);
    const unreadable = { readText: () => Promise.reject(new Error('EACCES')) };
    expect(await connectionLimit(unreadable)).toBe(16_384);
  });
});
