import type { Route } from './table.ts';
export function messagesRoutes(..._: unknown[]): Route[] {
  return [];
}
