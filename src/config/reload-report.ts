/** What a reload came to, for whoever asked and for whoever looks later. */
import type { Milliseconds } from '../units.ts';
import type { Config, ConfigProblem } from './config.ts';
import type { ConfigDiff } from './reload-diff.ts';

/** Who asked: a file that changed, SIGHUP, or the API. */
export type ReloadTrigger = 'file' | 'signal' | 'api';

export interface ReloadReport {
  /** `valid`: a dry run that would have been applied. */
  readonly result: 'applied' | 'unchanged' | 'rejected' | 'valid';
  /** Of the configuration in force: 1 is the one of the start. */
  readonly version: number;
  /** Null when it was rejected. */
  readonly diff: ConfigDiff | null;
  /** Of what was loaded; with severity `info`. */
  readonly problems: readonly ConfigProblem[];
}

export interface InForce {
  readonly config: Config;
  readonly version: number;
  /** Wall clock. */
  readonly loadedAt: Milliseconds;
  /** The files say something else since then, and it cannot be used; null = they do not. */
  readonly rejected: { readonly at: Milliseconds; readonly problems: readonly ConfigProblem[] } | null;
}
