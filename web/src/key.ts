/** The key that was typed into the page: kept for this tab alone, and sent as a header alone. */
const KEY = 'vllm-gateway.key';

export function readKey(): string | null {
  return sessionStorage.getItem(KEY);
}

export function writeKey(key: string | null): void {
  if (key === null || key === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

export function keyHeaders(): Record<string, string> {
  const key = readKey();
  return key === null ? {} : { authorization: `Bearer ${key}` };
}
