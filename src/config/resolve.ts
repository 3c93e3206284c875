/** From what is written to what holds: flag > file > environment > built-in, key by key. */
import type { EnvironmentValues } from './environment.ts';
import type { Keys, Resolved, Written } from './schema/key.ts';

/** `tiers`: what is written, the strongest first. Lists and mappings are taken whole, never merged. */
export function resolveKeys<K extends Keys>(
  keys: K,
  tiers: readonly (Written<NoInfer<K>> | undefined)[],
  environment: EnvironmentValues,
): Resolved<K> {
  const result: Record<string, unknown> = {};
  for (const [name, entry] of Object.entries(keys)) {
    const written = tiers.map((tier) => (tier as Readonly<Record<string, unknown>> | undefined)?.[name]);
    if (entry.kind === 'group') {
      result[name] = resolveKeys(entry.keys, written as readonly (Written<Keys> | undefined)[], environment);
      continue;
    }
    const first = written.find((value) => value !== undefined);
    result[name] = first === undefined ? (environment.get(entry)?.value ?? entry.fallback) : first;
  }
  // Every key of the table was given a value of its own type just above.
  return result as Resolved<K>;
}
