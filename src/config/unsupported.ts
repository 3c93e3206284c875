/** Keys of later releases: named as such, so that nobody hunts for a spelling mistake that is none. */
import type { Path } from './problems.ts';

const EVERYWHERE: Readonly<Record<string, string>> = {
  sleep: 'sleeping engines',
  replicas: 'several replicas of a model',
  min_replicas: 'several replicas of a model',
  max_replicas: 'several replicas of a model',
  routing: 'routing between replicas',
  priority: 'priorities',
  priorities: 'priorities',
  right_to_evict: 'the right to evict',
  fallbacks: 'fallbacks to other models',
  loras: 'LoRA adapters',
  lora: 'LoRA adapters',
  audit: 'the audit log',
  audit_log: 'the audit log',
  realtime: 'realtime sessions',
  kubernetes: 'the Kubernetes driver',
};

const KEY_LIMITS: Readonly<Record<string, string>> = {
  limits: 'limits per key',
  rate_limit: 'limits per key',
  requests_per_minute: 'limits per key',
  tokens_per_minute: 'limits per key',
  max_concurrent: 'limits per key',
};

/** What the key at `path` would be about, when it belongs to a later release. */
export function laterRelease(path: Path): string | undefined {
  const name = path.at(-1);
  if (typeof name !== 'string') return undefined;
  if (path[0] === 'auth' && Object.hasOwn(KEY_LIMITS, name)) return KEY_LIMITS[name];
  return Object.hasOwn(EVERYWHERE, name) ? EVERYWHERE[name] : undefined;
}
