/** Every planted bug. */
import type { Canary } from './canary.ts';
import { CORE_CANARIES } from './core-canaries.ts';

export const CANARIES: readonly Canary[] = [...CORE_CANARIES];
