/**
 * What the releases of vLLM differ in, as far as the gateway cares: flags that came and went, and GGUF. An unknown flag
 * ends vLLM's start, so a flag is passed only to a version that surely has it.
 */

/** Comparable: three numbers in one. */
export type VllmVersion = number;

/** No part of a version reaches it. */
const PART = 1000;

export const versionNumber = (major: number, minor: number, patch = 0): VllmVersion =>
  (major * PART + minor) * PART + patch;

/** The newest release that the table below was checked against; what cannot be told is taken for it. */
export const NEWEST_VLLM: VllmVersion = versionNumber(0, 32);
/** Older tags that look like versions are somebody else's numbering. */
const OLDEST_VLLM: VllmVersion = versionNumber(0, 8);

export function versionText(version: VllmVersion): string {
  const release = Math.floor(version / PART);
  const [major, minor, patch] = [Math.floor(release / PART), release % PART, version % PART];
  return patch === 0 ? `${major}.${minor}` : `${major}.${minor}.${patch}`;
}

/** `v0.16.0`, `0.11.1rc2`, `v0.16.0-cu130`, `0.10.2.dev378+g4d7f` → the release; null when it is none. */
export function parseVllmVersion(text: string): VllmVersion | null {
  const match = /^v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?![\d])/.exec(text);
  if (!match) return null;
  const version = versionNumber(Number(match[1]), Number(match[2]), Number(match[3] ?? '0'));
  return version < OLDEST_VLLM ? null : version;
}

/** Version of vLLM in an image, by its tag; null when the tag does not tell (`latest`, a digest, a foreign numbering). */
export function imageVersion(image: string): VllmVersion | null {
  const name = image.split('@', 1)[0] ?? '';
  const last = name.slice(name.lastIndexOf('/') + 1);
  const colon = last.indexOf(':');
  if (colon < 0 || !last.slice(0, colon).toLowerCase().includes('vllm')) return null;
  return parseVllmVersion(last.slice(colon + 1));
}

/** Which flags an engine takes. `common`: nobody knows its version, so only what every version has. */
export type VllmDialect = { readonly kind: 'version'; readonly version: VllmVersion } | { readonly kind: 'common' };

interface FlagSpan {
  /** The first release that surely has it. */
  readonly since?: VllmVersion;
  /** The first release that surely lacks it. */
  readonly until?: VllmVersion;
  /** What does the same today. */
  readonly instead?: string;
}

/** Flags that not every release from 0.8 to 0.32 has; what is not named here is taken to be in all of them. */
const SPANS: Readonly<Record<string, FlagSpan>> = {
  '--kv-cache-memory-bytes': { since: versionNumber(0, 11) },
  '--disable-access-log-for-endpoints': { since: versionNumber(0, 16) },
  '--shutdown-timeout': { since: versionNumber(0, 19) },
  '--runner': { since: versionNumber(0, 11) },
  '--convert': { since: versionNumber(0, 11) },
  '--speculative-model': { until: versionNumber(0, 9), instead: '--speculative-config' },
  '--device': { until: versionNumber(0, 10), instead: 'VLLM_TARGET_DEVICE in env' },
  '--enable-reasoning': { until: versionNumber(0, 10), instead: '--reasoning-parser alone' },
  '--use-v2-block-manager': { until: versionNumber(0, 10) },
  '--num-scheduler-steps': { until: versionNumber(0, 12) },
  '--rope-scaling': { until: versionNumber(0, 12), instead: '--hf-overrides' },
  '--max-seq-len-to-capture': { until: versionNumber(0, 12), instead: '--max-cudagraph-capture-size' },
  '--task': { until: versionNumber(0, 19), instead: '--runner and --convert' },
  '--swap-space': { until: versionNumber(0, 19) },
  '--disable-log-requests': { until: versionNumber(0, 19), instead: 'nothing: requests are not logged by default' },
  '--guided-decoding-backend': { until: versionNumber(0, 19), instead: '--structured-outputs-config' },
  '--cuda-graph-sizes': { until: versionNumber(0, 19), instead: '--cudagraph-capture-sizes' },
};

/** Whether the engine surely knows this flag (long name with dashes). */
export function hasFlag(dialect: VllmDialect, flag: string): boolean {
  const span = SPANS[flag];
  if (span === undefined) return true;
  if (dialect.kind === 'common') return false;
  return (
    (span.since === undefined || dialect.version >= span.since) &&
    (span.until === undefined || dialect.version < span.until)
  );
}

/** Why a version refuses a flag, for people; null when it takes it, or nobody can tell. */
export function missingFlag(version: VllmVersion, flag: string): string | null {
  const span = SPANS[flag];
  if (span?.until !== undefined && version >= span.until) {
    const instead = span.instead === undefined ? '' : `; use ${span.instead}`;
    return `vLLM ${versionText(version)} has no ${flag} any more${instead}`;
  }
  if (span?.since !== undefined && version < span.since) {
    return `vLLM ${versionText(version)} has no ${flag} yet; it is in ${versionText(span.since)}`;
  }
  return null;
}

/** GGUF left vLLM for a plugin. */
const GGUF_UNTIL: VllmVersion = versionNumber(0, 24);
/** The first release that surely loads `repo:QUANT` from the hub; before it only a file will do. */
const GGUF_BY_NAME_SINCE: VllmVersion = versionNumber(0, 13);

/** Why this version cannot load a GGUF model; null when it can. */
export function ggufProblem(version: VllmVersion, file: boolean): string | null {
  if (version >= GGUF_UNTIL) {
    return `vLLM ${versionText(version)} loads GGUF only with the package vllm-gguf-plugin; use an image before ${versionText(GGUF_UNTIL)}, one of your own with the plugin, or a checkpoint in safetensors`;
  }
  if (!file && version < GGUF_BY_NAME_SINCE) {
    return `vLLM ${versionText(version)} loads GGUF only from a file; write its path into repo, or use an image of ${versionText(GGUF_BY_NAME_SINCE)} to ${versionText(versionNumber(0, 23))}`;
  }
  return null;
}
