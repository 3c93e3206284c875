/**
 * What stands between a key-less gateway and the web pages that its user has open: a page may send requests to
 * 127.0.0.1, under its own name after DNS rebinding (Host) or across sites (Origin, Sec-Fetch-Site).
 */
import { gatewayError } from '../errors.ts';
import type { GatewayError } from '../errors.ts';
import { hostOf, isAddressLiteral } from './addresses.ts';
import type { RequestFacts } from './auth.ts';

const REMEMBERED_HOSTS = 256;

export interface CrossSiteRules {
  /** Is the request addressed to a name that only this machine's user can have meant? */
  checkHost(facts: RequestFacts): GatewayError | undefined;
  /** Does it come from a page of another site? */
  checkOrigin(facts: RequestFacts): GatewayError | undefined;
}

export function createCrossSiteRules(allowedHosts: readonly string[], corsOrigins: readonly string[]): CrossSiteRules {
  const names = new Set(['localhost', ...allowedHosts.map((name) => hostOf(name) ?? name.toLowerCase())]);
  const origins = new Set(corsOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, '')));
  const remembered = new Map<string, boolean>();

  function isExpected(header: string): boolean {
    const known = remembered.get(header);
    if (known !== undefined) return known;
    const host = hostOf(header);
    const expected = host !== undefined && (names.has(host) || isAddressLiteral(host));
    if (remembered.size >= REMEMBERED_HOSTS) remembered.clear();
    remembered.set(header, expected);
    return expected;
  }

  const isAllowed = (origin: string): boolean => origins.has('*') || origins.has(origin.toLowerCase());

  return {
    checkHost(facts) {
      const host = first(facts.headers['host']);
      // HTTP/1.0 may have none; browsers always send one.
      if (host === undefined || isExpected(host)) return undefined;
      return gatewayError(
        'permission_denied',
        'The Host header names neither localhost nor an address. Without API keys only those are served on a loopback listener; add the name to server.allowed_hosts.',
      );
    },
    checkOrigin(facts) {
      const origin = first(facts.headers['origin']);
      if (origin !== undefined) {
        if (isAllowed(origin) || isSameOrigin(origin, first(facts.headers['host']))) return undefined;
      } else if (first(facts.headers['sec-fetch-site']) !== 'cross-site') {
        return undefined;
      }
      return gatewayError(
        'permission_denied',
        'A page of another site sent this request. Without API keys that is refused; add its origin to server.cors_origins.',
      );
    },
  };
}

/** The scheme is left out: TLS may end in front of us, and then the page's scheme is not ours. */
function isSameOrigin(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  let url: URL;
  try {
    url = new URL(origin);
  } catch {
    // `null`, or nothing that a browser sends.
    return false;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return false;
  // `URL` drops a default port; a Host header may spell it out.
  return url.host === host.toLowerCase().replace(url.protocol === 'http:' ? /:80$/ : /:443$/, '');
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
