import type { Exchange } from '../exchange.ts';

export interface Route {
  /** As the log and `http_requests_total` show it. */
  readonly path: string;
  readonly pattern: RegExp;
  readonly methods: readonly string[];
  readonly run: (x: Exchange) => void | Promise<void>;
}

/** `{name}` in a path stands for one segment. */
export function route(methods: string, path: string, run: Route['run']): Route {
  const source = path.replaceAll(/\{[^}]+\}/g, '([^/]+)').replaceAll('.', '\\.');
  return { path, pattern: new RegExp(`^${source}$`), methods: methods.split(' '), run };
}
