/** What the files of learned things have in common: JSON that somebody may have damaged, and by what an entry is known again. */
import type { FootprintSignature } from '../core/memory/footprint.ts';

/** Undefined when it is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Undefined when a part is missing or of another kind. */
export function signatureOf(value: unknown): FootprintSignature | undefined {
  if (!isRecord(value)) return undefined;
  const { specHash, image, deviceClass, tensorParallel } = value;
  if (typeof specHash !== 'string' || typeof deviceClass !== 'string') return undefined;
  if (image !== null && typeof image !== 'string') return undefined;
  if (typeof tensorParallel !== 'number' || !Number.isInteger(tensorParallel) || tensorParallel < 1) return undefined;
  return { specHash, image, deviceClass, tensorParallel };
}
