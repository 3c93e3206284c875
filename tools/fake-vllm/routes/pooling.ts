import type { Route } from './table.ts';
export function poolingRoutes(..._: unknown[]): Route[] {
  return [];
}
