/** Says what is wrong with the name of a header that is added to requests of ours, or nothing. */
export function checkHeader(name: string): string | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return `${JSON.stringify(name)} is not a header name`;
  const owned = ['host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'te', 'trailer'];
  return owned.includes(name.toLowerCase()) ? `${name} is set by the gateway for every request; remove it` : undefined;
}
