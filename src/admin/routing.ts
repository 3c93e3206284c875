/** One route of the control plane: who may use it, and what it answers. */
import type { Context } from 'hono';
import type { Need, Principal } from '../auth/auth.ts';
import type { Bindings } from './options.ts';

export interface Environment {
  Bindings: Bindings;
  Variables: { readonly requestId: string; principal: Principal };
}

export type AdminContext = Context<Environment>;

export interface Route {
  readonly method: 'GET' | 'POST';
  /** Matches the raw (still encoded) path; its named groups are the route's parameters. */
  readonly path: RegExp;
  readonly need: Need;
  /** It starts, stops or changes something: logged with who asked. */
  readonly mutating: boolean;
  readonly answer: (
    context: AdminContext,
    parameters: Readonly<Record<string, string>>,
  ) => Response | Promise<Response>;
}

export function get(path: string, need: Need, answer: Route['answer']): Route {
  return { method: 'GET', path: new RegExp(`^${path}$`), need, mutating: false, answer };
}

export function post(path: string, need: Need, answer: Route['answer']): Route {
  return { method: 'POST', path: new RegExp(`^${path}$`), need, mutating: true, answer };
}

/** The parameters of a path, decoded once; undefined when the route does not match or the encoding is broken. */
export function matchRoute(route: Route, path: string): Readonly<Record<string, string>> | undefined {
  const match = route.path.exec(path);
  if (!match) return undefined;
  try {
    const groups = Object.entries(match.groups ?? {});
    return Object.fromEntries(groups.map(([name, value]) => [name, decodeURIComponent(value)]));
  } catch {
    return undefined;
  }
}
