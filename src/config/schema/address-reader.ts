/** Readers of addresses: listeners, URLs, origins, host names, port ranges. */
import { bad, good, type Reader } from './reader.ts';
import { ownEntry, plainText, quote } from './scalar.ts';
import { portNumber, text } from './text-reader.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const HOST = /^[A-Za-z0-9._-]+$/;
const IPV6 = /^[0-9A-Fa-f:.]+(?:%[\w.-]+)?$/;

/** `127.0.0.1:9000`, `[::1]:9000`, `:9000` (every address), `9000` (loopback). Undefined when it is none of these. */
export function parseListen(written: string): HostPort | undefined {
  const value = written.trim();
  const bracketed = /^\[([^\]]+)\]:(\d+)$/.exec(value);
  const [host, portText] = bracketed
    ? [bracketed[1] ?? '', bracketed[2] ?? '']
    : value.includes(':')
      ? [value.slice(0, value.lastIndexOf(':')), value.slice(value.lastIndexOf(':') + 1)]
      : ['127.0.0.1', value];
  const port = portNumber(portText);
  if (port === undefined) return undefined;
  if (bracketed) return IPV6.test(host) && host.includes(':') ? { host, port } : undefined;
  if (host === '' || host === '*') return { host: '0.0.0.0', port };
  return HOST.test(host) ? { host, port } : undefined;
}

export const listenText = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** Addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host) || /^::ffff:127\./i.test(host);
}

export function listenAddress(): Reader<HostPort> {
  const allows = 'HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000';
  return {
    allows,
    lenient: false,
    json: { type: ['string', 'integer'] },
    show: listenText,
    read: (input) => {
      const value = plainText(input);
      const parsed = typeof value === 'string' || typeof value === 'number' ? parseListen(String(value)) : undefined;
      return parsed === undefined
        ? bad('not_allowed', `${quote(value)} is not an address to listen on; allowed: ${allows}`)
        : good(parsed);
    },
  };
}

function checkUrl(value: string, what: string): string | undefined {
  const allowed = `allowed: ${what}`;
  if (!URL.canParse(value)) return `is not a URL; ${allowed}`;
  const url = new URL(value);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `is not an http URL; ${allowed}`;
  if (url.search !== '' || url.hash !== '') return `holds a query or fragment; ${allowed}`;
  return undefined;
}

/** Base URL of a server; one slash at the end, or `/v1`, is dropped, since every route of ours begins with it. */
export function serverUrl(): Reader<string> {
  return urlReader('an http or https URL such as http://10.0.0.5:8000', 'api_key', (url) => url.replace(/\/v1$/, ''));
}

/** URL of a collector of traces, without a slash at its end. */
export function collectorUrl(): Reader<string> {
  return urlReader('an http or https URL such as http://localhost:4318', 'a header', (url) => url);
}

/** `credential`: where one belongs. */
function urlReader(what: string, credential: string, normal: (url: string) => string): Reader<string> {
  const inner = text({ what, check: (value) => checkUrl(value, what) });
  return {
    ...inner,
    read: (input) => {
      const value = plainText(input);
      if (typeof value === 'string' && URL.canParse(value)) {
        const { username, password } = new URL(value);
        // Not quoted: the message would spread the password.
        if (username !== '' || password !== '') {
          return bad('not_allowed', `holds a user name or password; write the credential as ${credential}`);
        }
      }
      const reading = inner.read(input);
      return 'value' in reading ? good(normal(reading.value.replace(/\/+$/, ''))) : reading;
    },
  };
}

export function origin(): Reader<string> {
  return text({
    what: 'an origin such as https://chat.example.org, or "*" for every origin',
    check: (value) => {
      if (value === '*') return undefined;
      const right = 'allowed: scheme and host only, such as https://chat.example.org, or "*"';
      if (!URL.canParse(value)) return `is not an origin; ${right}`;
      return new URL(value).origin === value.toLowerCase() ? undefined : `is not an origin; ${right}`;
    },
  });
}

export function hostName(): Reader<string> {
  return text({
    what: 'a host name without scheme or port, such as gpu-box.lan',
    check: (value) =>
      HOST.test(value) ? undefined : 'is not a host name; allowed: a name without scheme or port, such as gpu-box.lan',
  });
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export function portRange(): Reader<PortRange> {
  const allows = 'two ports with a dash between them, such as 20000-29999, each from 1 to 65535, the smaller one first';
  return {
    allows,
    lenient: false,
    json: { type: 'string', pattern: '^\\d+-\\d+$' },
    show: ({ first, last }) => `${first}-${last}`,
    read: (input) => {
      const value = plainText(input);
      const match = typeof value === 'string' ? /^\s*(\d+)\s*-\s*(\d+)\s*$/.exec(value) : null;
      const first = portNumber(match?.[1] ?? '');
      const last = portNumber(match?.[2] ?? '');
      return first === undefined || last === undefined || first < 1 || last < first
        ? bad('not_allowed', `${quote(value)} is not a port range; allowed: ${allows}`)
        : good({ first, last });
    },
  };
}

const DENIED_SEGMENTS: Readonly<Record<string, string>> = {
  sleep: 'sleep routes stop engines behind the gateway',
  wake_up: 'sleep routes stop engines behind the gateway',
  is_sleeping: 'sleep routes stop engines behind the gateway',
  load_lora_adapter: 'LoRA routes change what an engine serves',
  unload_lora_adapter: 'LoRA routes change what an engine serves',
  collective_rpc: 'RPC routes run code in the engine',
  pause: 'pause routes stop engines behind the gateway',
  resume: 'pause routes stop engines behind the gateway',
  is_paused: 'pause routes stop engines behind the gateway',
  start_profile: 'profiling routes slow the engine for everyone',
  stop_profile: 'profiling routes slow the engine for everyone',
  profile: 'profiling routes slow the engine for everyone',
  abort_requests: 'it ends the requests of others',
  update_weights: 'it changes what an engine serves',
  flush_cache: 'reset routes drop the cache of everyone',
  server_info: "it tells the engine's settings",
  scale_elastic_ep: 'it changes how an engine runs',
};

function checkRoute(value: string): string | undefined {
  if (!/^\/[A-Za-z0-9._~/-]+$/.test(value) || value.includes('//') || /(?:^|\/)\.\.?(?:\/|$)/.test(value)) {
    return 'is not a route; allowed: an absolute path of letters, digits, ".", "_", "~" and "-", such as /v1/moderations';
  }
  for (const segment of value.toLowerCase().split('/')) {
    const name = segment.replaceAll('-', '_');
    const reason =
      ownEntry(DENIED_SEGMENTS, name) ??
      (name.startsWith('reset_') ? 'reset routes drop the cache of everyone' : undefined);
    if (reason !== undefined) return `may not be opened to clients: ${reason}`;
  }
  const first = value.toLowerCase().split('/')[1];
  if (first === 'gateway') return 'may not be opened to clients: /gateway is the control plane of the gateway itself';
  return first === 'metrics' || first === 'healthz' || first === 'readyz'
    ? 'may not be opened to clients: the gateway answers it itself'
    : undefined;
}

export function route(): Reader<string> {
  return text({ what: 'a POST path such as /v1/moderations', check: checkRoute });
}

export function healthPath(): Reader<string> {
  return text({
    what: 'a path such as /health',
    check: (value) =>
      /^\/[^\s#]*$/.test(value) ? undefined : 'is not a path; allowed: a path that begins with "/", such as /health',
  });
}
