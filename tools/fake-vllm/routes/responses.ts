import type { Route } from './table.ts';
export function responsesRoutes(..._: unknown[]): Route[] {
  return [];
}
