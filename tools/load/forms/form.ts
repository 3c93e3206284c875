import type { Gates } from '../gates.ts';

export interface Form {
  readonly title: string;
  /** `long`: the whole of it; else a form short enough for every change. `say`: a line about how it goes. */
  run(gates: Gates, options: { readonly long: boolean; readonly say: (text: string) => void }): Promise<void>;
}
