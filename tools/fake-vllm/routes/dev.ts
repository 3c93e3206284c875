import type { Route } from './table.ts';
export function devRoutes(..._: unknown[]): Route[] {
  return [];
}
