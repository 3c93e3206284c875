import type { Route } from './table.ts';
export function batchRoutes(..._: unknown[]): Route[] {
  return [];
}
