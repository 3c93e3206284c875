import type { Route } from './table.ts';
export function completionRoutes(..._: unknown[]): Route[] {
  return [];
}
export function completions(_: unknown): void {}
