/** The access rules: keys and roles, and what holds instead where there are none. */
import { gatewayError } from '../errors.ts';
import type { GatewayError } from '../errors.ts';
import type { ApiKey, Config, Role } from '../config/config.ts';
import { isLoopbackAddress } from './addresses.ts';
import type { Access, AccessVerdict, Need, Principal, RequestFacts } from './auth.ts';
import { KeyRing, readCredential } from './credentials.ts';
import { createCrossSiteRules } from './cross-site.ts';
import { matchesGlob } from './globs.ts';

export const ANONYMOUS = 'anonymous';

const ALL_ROLES: readonly Role[] = ['inference', 'metrics', 'admin'];
/** A request with one of these came through something that hides who sent it. */
const FORWARDED = /^(?:forwarded|x-forwarded-.*|x-real-ip|via)$/;

export interface AccessOptions {
  readonly auth: Config['auth'];
  /** `server.allowed_hosts`. */
  readonly allowedHosts: readonly string[];
  /** `server.cors_origins`. */
  readonly corsOrigins: readonly string[];
}

type Granted = Extract<AccessVerdict, { principal: Principal }>;

/** `admin` may do everything. */
export function allows(principal: Principal, need: Need): boolean {
  return need === 'open' || principal.roles.has('admin') || principal.roles.has(need);
}

export function createAccess({ auth, allowedHosts, corsOrigins }: AccessOptions): Access {
  const ring = new KeyRing<Granted>();
  for (const key of auth.keys) ring.add(key.digest, grantOf(key));
  if (auth.adminKey) ring.add(auth.adminKey.digest, grantOf({ ...auth.adminKey, roles: ALL_ROLES }));
  const rules = createCrossSiteRules(allowedHosts, corsOrigins);
  const nobody = anonymous([]);
  const visitor = anonymous(['inference', 'metrics']);
  const owner = anonymous(ALL_ROLES);

  function withKeys(need: Need, facts: RequestFacts): AccessVerdict {
    if (need === 'open') return nobody;
    const presented = readCredential(facts.rawHeaders);
    if (presented.kind === 'unusable') return presented;
    if (presented.kind === 'absent')
      return refused('No API key: send "Authorization: Bearer KEY" or "x-api-key: KEY".');
    const granted = ring.find(presented.value);
    if (granted === undefined) return refused('This API key is not valid.');
    if (allows(granted.principal, need)) return granted;
    return denied(`This API key lacks the role ${need}, which this route needs.`);
  }

  function withoutKeys(need: Need, facts: RequestFacts): AccessVerdict {
    // Even then there may be an admin key. Whoever holds it is no web page: cross-site rules would protect nothing.
    const presented = auth.adminKey && need !== 'open' ? readCredential(facts.rawHeaders) : undefined;
    const granted = presented?.kind === 'key' ? ring.find(presented.value) : undefined;
    if (granted !== undefined) return granted;
    const strange = crossSite(need, facts);
    if (strange) return { error: strange };
    if (need === 'open') return nobody;
    if (need !== 'admin') return visitor;
    if (presented !== undefined) {
      if (presented.kind === 'unusable') return presented;
      return refused(
        presented.kind === 'absent'
          ? 'This route needs the key in GATEWAY_ADMIN_KEY: send "Authorization: Bearer KEY" or "x-api-key: KEY".'
          : 'This API key is not valid.',
      );
    }
    if (isLocal(facts)) return owner;
    return denied(
      'This route answers only programs on the same machine until GATEWAY_ADMIN_KEY is set; then it asks for that key.',
    );
  }

  function crossSite(need: Need, facts: RequestFacts): GatewayError | undefined {
    // Control without a key trusts the loopback peer, which a browser on this machine is too: its page must not
    // have got here under a rebound name, whatever the listener is bound to.
    const trustsPeer = need === 'admin' && auth.adminKey === null && isLocal(facts);
    const byHost = facts.loopbackListener || trustsPeer ? rules.checkHost(facts) : undefined;
    return byHost ?? (facts.mutating || need === 'admin' ? rules.checkOrigin(facts) : undefined);
  }

  const keyed = auth.keys.length > 0;
  return { check: (need, facts) => (keyed ? withKeys(need, facts) : withoutKeys(need, facts)) };
}

function isLocal(facts: RequestFacts): boolean {
  if (!isLoopbackAddress(facts.remoteAddress)) return false;
  for (const name in facts.headers) if (FORWARDED.test(name)) return false;
  return true;
}

function grantOf(key: ApiKey): Granted {
  const every = key.models.includes('*');
  return {
    principal: {
      keyId: key.id,
      roles: new Set(key.roles),
      mayUse: every ? () => true : (model) => key.models.some((glob) => matchesGlob(glob, model)),
    },
  };
}

function anonymous(roles: readonly Role[]): Granted {
  return { principal: { keyId: ANONYMOUS, roles: new Set(roles), mayUse: () => true } };
}

const refused = (message: string): AccessVerdict => ({ error: gatewayError('invalid_api_key', message) });
const denied = (message: string): AccessVerdict => ({ error: gatewayError('permission_denied', message) });
