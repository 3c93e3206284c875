/** Reads hosts and addresses as browsers and sockets write them. */

const PORT = /:\d{0,5}$/;
const IPV4 = /^(?:\d{1,3}\.){3}\d{1,3}$/;
const IPV6 = /^[\da-f:.]+(?:%25?[\w.~-]+)?$/i;
const NAME = /^[a-z\d_](?:[a-z\d_.-]*[a-z\d_])?$/;

/** `Host` without its port, lower case, without a final dot; IPv6 without brackets. Undefined when it is no host. */
export function hostOf(header: string): string | undefined {
  if (header.startsWith('[')) {
    const end = header.indexOf(']');
    const literal = header.slice(1, end);
    const rest = header.slice(end + 1);
    return end > 0 && IPV6.test(literal) && (rest === '' || PORT.test(rest)) ? literal.toLowerCase() : undefined;
  }
  const host = header.replace(PORT, '').toLowerCase().replace(/\.$/, '');
  return NAME.test(host) ? host : undefined;
}

/** An IPv4 or IPv6 literal, as `hostOf` returns it: no resolver was asked, so nobody can have rebound it. */
export function isAddressLiteral(host: string): boolean {
  return (
    (IPV4.test(host) && host.split('.').every((part) => Number(part) <= 255)) || (host.includes(':') && IPV6.test(host))
  );
}

/** 127.0.0.0/8, ::1, and IPv4 loopback in its IPv6-mapped form, as `socket.remoteAddress` writes them. */
export function isLoopbackAddress(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
  return plain === '::1' || (plain.startsWith('127.') && IPV4.test(plain));
}

/** Is a listener on this host reachable from this machine only? `localhost` counts. */
export function isLoopbackHost(host: string): boolean {
  const plain = host.toLowerCase().replace(/^\[|\]$/g, '');
  return plain === 'localhost' || isLoopbackAddress(plain);
}
