/** The last tests of every file of the corpus. */
import { expect, it } from 'vitest';
import type { Bench } from './bench.ts';
import { agreeWithNode, agreeWithPython, PYTHON } from './other-parsers.ts';

/** `atLeast`: so many different requests, so that an empty run cannot pass. */
export function othersAgree(bench: () => Bench, atLeast: number): void {
  it('everything that was forwarded means the same to the server of Node', async () => {
    expect(await agreeWithNode(bench().forwarded)).toBeGreaterThanOrEqual(atLeast);
  });

  it.skipIf(PYTHON === '')('everything that was forwarded means the same to h11 and httptools', () => {
    expect(agreeWithPython(bench().forwarded)).toBeGreaterThanOrEqual(atLeast);
  });
}
