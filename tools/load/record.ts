import type { Gate } from './gates.ts';

/** The contents of `docs/measurements/load-*.json`. */
export interface Measured {
  readonly form: string;
  readonly long: boolean;
  readonly title: string;
  /** UTC day. */
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly cores: number;
  /** Of the last quarter of an hour: what else the machine did. */
  readonly load_average: number;
  readonly duration_s: number;
  readonly gates: readonly Gate[];
  readonly figures: Readonly<Record<string, number | string>>;
}
