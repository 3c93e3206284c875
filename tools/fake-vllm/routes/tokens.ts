import type { Route } from './table.ts';
export function tokenRoutes(..._: unknown[]): Route[] {
  return [];
}
