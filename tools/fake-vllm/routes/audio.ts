import type { Route } from './table.ts';
export function audioRoutes(..._: unknown[]): Route[] {
  return [];
}
