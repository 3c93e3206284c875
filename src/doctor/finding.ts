/** What a look at the machine found. */

export interface Finding {
  /** What was looked at, e.g. `docker`, `disk`. */
  readonly check: string;
  /** `unknown`: it could not be looked at, or not be told. */
  readonly state: 'ok' | 'problem' | 'unknown';
  readonly message: string;
  /** What to do; null = nothing. */
  readonly remedy: string | null;
}

/** Findings of one kind, in few words. */
export function findingsOf(check: string): {
  ok(message: string, remedy?: string): Finding;
  problem(message: string, remedy: string): Finding;
  unknown(message: string, remedy?: string): Finding;
} {
  return {
    ok: (message, remedy) => ({ check, state: 'ok', message, remedy: remedy ?? null }),
    problem: (message, remedy) => ({ check, state: 'problem', message, remedy }),
    unknown: (message, remedy) => ({ check, state: 'unknown', message, remedy: remedy ?? null }),
  };
}

export function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : error instanceof Error ? error.message : String(error);
}
