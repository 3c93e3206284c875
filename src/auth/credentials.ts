/** What a caller presents, and whose it is. Keys are known by their SHA-256 only. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { gatewayError } from '../errors.ts';
import type { GatewayError } from '../errors.ts';

/** `absent`: no credential at all (an empty one counts as none: clients without a key send `Bearer `). */
export type Presented =
  | { readonly kind: 'absent' }
  | { readonly kind: 'key'; readonly value: string }
  | { readonly kind: 'unusable'; readonly error: GatewayError };

const ABSENT: Presented = { kind: 'absent' };
/** RFC 9110 §11.1: the scheme is case-insensitive, one or more spaces follow. */
const BEARER = /^bearer(?: +|$)/i;

const unusable = (message: string): Presented => ({
  kind: 'unusable',
  error: gatewayError('invalid_api_key', message),
});

/** Reads `authorization` and `x-api-key` from header lines (name, value, name, value …), so that a second one is seen. */
export function readCredential(rawHeaders: readonly string[]): Presented {
  let authorization: string | undefined;
  let apiKey: string | undefined;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    // Lengths first: this runs over every header of every request.
    if (name.length === 13 && name.toLowerCase() === 'authorization') {
      if (authorization !== undefined) return unusable('Two authorization headers: send one.');
      authorization = (rawHeaders[index + 1] ?? '').trim();
    } else if (name.length === 9 && name.toLowerCase() === 'x-api-key') {
      if (apiKey !== undefined) return unusable('Two x-api-key headers: send one.');
      apiKey = (rawHeaders[index + 1] ?? '').trim();
    }
  }
  return choose(authorization, apiKey);
}

function choose(authorization: string | undefined, apiKey: string | undefined): Presented {
  let bearer = '';
  if (authorization !== undefined && authorization !== '') {
    const scheme = BEARER.exec(authorization);
    if (!scheme) return unusable('The authorization header must read "Bearer KEY" (or send the key as x-api-key).');
    bearer = authorization.slice(scheme[0].length).trim();
  }
  if (bearer !== '' && apiKey !== undefined && apiKey !== '' && bearer !== apiKey) {
    return unusable('Two different credentials, in authorization and in x-api-key: send one.');
  }
  const value = bearer === '' ? (apiKey ?? '') : bearer;
  return value === '' ? ABSENT : { kind: 'key', value };
}

/** Entries remembered, and the longest credential that is. */
const CACHE_SIZE = 1_024;
const CACHE_LONGEST = 512;

interface Entry<Owner> {
  readonly digest: Buffer;
  readonly owner: Owner;
}

/** Finds the owner of a key by its digest. */
export class KeyRing<Owner> {
  readonly #entries = new Map<string, Entry<Owner>>();
  /** Only credentials that were right: strangers can neither fill it nor flush it. */
  readonly #known = new Map<string, Owner>();

  /** `digest`: SHA-256, 64 lower-case hex digits. The first of two equal digests wins. */
  add(digest: string, owner: Owner): void {
    if (!this.#entries.has(digest)) this.#entries.set(digest, { digest: Buffer.from(digest, 'hex'), owner });
  }

  find(value: string): Owner | undefined {
    const known = this.#known.get(value);
    if (known !== undefined) return known;
    // Header values arrive as one character per byte: hashing those bytes makes a UTF-8 key match its digest.
    const digest = createHash('sha256').update(value, 'latin1').digest();
    const entry = this.#entries.get(digest.toString('hex'));
    if (entry === undefined || !timingSafeEqual(entry.digest, digest)) return undefined;
    if (value.length <= CACHE_LONGEST) {
      if (this.#known.size >= CACHE_SIZE) this.#known.clear();
      this.#known.set(value, entry.owner);
    }
    return entry.owner;
  }
}
