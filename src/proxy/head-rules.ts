/** What Node's strict parser lets through and we do not: each rule names its source. */
import type { IncomingMessage } from 'node:http';
import { gatewayError, type GatewayError } from '../errors.ts';
import { MAX_HEADERS } from './limits.ts';

export interface Target {
  /** Raw, without the query. */
  readonly path: string;
  /** With its `?`, or ''. */
  readonly query: string;
}

const bad = (what: string): GatewayError =>
  gatewayError('invalid_body', `The request is not acceptable HTTP/1.1: ${what}.`);

const HOST = /^(?:\[[0-9a-f:.]+\]|[\w.~-]+)(?::(\d{1,5}))?$/i;

/** The first rule that the head breaks; after it the connection must not be used again. */
export function checkHead(request: IncomingMessage): GatewayError | null {
  const raw = request.rawHeaders;
  if (raw.length > 2 * MAX_HEADERS) {
    return gatewayError('header_too_large', `The request has more than ${MAX_HEADERS} header fields.`);
  }
  const { httpVersion } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return bad(`version ${httpVersion} is not spoken here`);
  const repeated = repeatedField(raw);
  // RFC 9112 §3.2: more than one Host is an error; the others change what the body means.
  if (repeated !== null) return bad(`${repeated} is given twice`);
  const host = request.headers.host;
  if (host === undefined && httpVersion === '1.1') return bad('Host is missing');
  if (host !== undefined && !isHost(host)) return bad('Host is malformed');
  const coding = request.headers['transfer-encoding'];
  if (coding !== undefined) {
    if (httpVersion === '1.0') return bad('Transfer-Encoding does not exist in HTTP/1.0');
    if (coding.toLowerCase() !== 'chunked') return bad('chunked is the only transfer coding');
  }
  return null;
}

function isHost(host: string): boolean {
  const match = HOST.exec(host);
  return match !== null && Number(match[1] ?? 0) <= 65_535;
}

/** Fields that must not come twice; told apart by length first, because this runs over every field of every request. */
function repeatedField(raw: readonly string[]): string | null {
  let seen = 0;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    let bit = 0;
    if (name.length === 4) bit = name.toLowerCase() === 'host' ? 1 : 0;
    else if (name.length === 12) bit = name.toLowerCase() === 'content-type' ? 2 : 0;
    else if (name.length === 16) bit = name.toLowerCase() === 'content-encoding' ? 4 : 0;
    if ((seen & bit) !== 0) return name;
    seen |= bit;
  }
  return null;
}

/** Null: not a target that this server can have. */
export function readTarget(method: string, url: string): Target | null {
  let target = url;
  if (target.charCodeAt(0) !== 0x2f) {
    if (target === '*' && method === 'OPTIONS') return { path: '*', query: '' };
    // RFC 9112 §3.2.2: an absolute form must be accepted; its authority takes the place of Host.
    const absolute = /^https?:\/\/[^/?#]*(.*)$/i.exec(target);
    if (absolute === null) return null;
    target = absolute[1] as string;
    if (!target.startsWith('/')) target = `/${target}`;
  }
  if (target.includes('#')) return null;
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  if (path.includes('%') && !isDecodable(path)) return null;
  return { path, query: mark === -1 ? '' : target.slice(mark) };
}

function isDecodable(path: string): boolean {
  return decodePath(path) !== null;
}

/** Percent-decoded, or null when that is not UTF-8. */
export function decodePath(path: string): string | null {
  try {
    return decodeURIComponent(path);
  } catch {
    return null;
  }
}
