/** Every planted bug. */
import type { Canary } from './canary.ts';
import { CORE_CANARIES } from './core-canaries.ts';
import { SHELL_CANARIES } from './shell-canaries.ts';

export const CANARIES: readonly Canary[] = [...CORE_CANARIES, ...SHELL_CANARIES];
