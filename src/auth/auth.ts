/** Who may do what. Decided once per request, before its body is read. */
import type { Role } from '../config/config.ts';
import type { GatewayError } from '../errors.ts';

/** What a route asks of its caller. `open`: nothing (health, static files). */
export type Need = 'open' | Role;

export interface Principal {
  /** The key's configured id; `anonymous` without keys. */
  readonly keyId: string;
  readonly roles: ReadonlySet<Role>;
  /** By the key's globs; a configured model name. */
  mayUse(model: string): boolean;
}

/** The facts of a request that access rules look at. Header names lower-case. */
export interface RequestFacts {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Every `authorization` and `x-api-key` line, in order: two of one kind are refused. */
  readonly rawHeaders: readonly string[];
  readonly remoteAddress: string | undefined;
  /** The listener it came in on is bound to a loopback address. */
  readonly loopbackListener: boolean;
  /** It starts, stops or changes something (control POSTs), or runs inference: cross-site rules apply. */
  readonly mutating: boolean;
}

export type AccessVerdict = { readonly principal: Principal } | { readonly error: GatewayError };

export interface Access {
  check(need: Need, facts: RequestFacts): AccessVerdict;
}
