/** A planted bug: one realistic slip of one line in the real source, which the simulation must notice. */
export interface Canary {
  readonly name: string;
  /** What goes wrong because of it, as somebody who runs the gateway would see it. */
  readonly breaks: string;
  /** From the root of the repository. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Where it is looked for: `core` steps the core in a simulated world, `shell` runs controller and proxy around it. */
  readonly world: World;
}

export type World = 'core' | 'shell';

/** What stopped a search: the promise that was seen broken, and in which seed. */
export interface Find {
  readonly seed: number;
  /** Of the promise; `hang` and `crash` when the program did not come to an answer. */
  readonly violated: string;
  readonly message: string;
}

/** The source with the bug in it; throws when the place is not there exactly once. */
export function plant(canary: Pick<Canary, 'file' | 'find' | 'replace'>, source: string): string {
  const parts = source.split(canary.find);
  if (parts.length !== 2) {
    throw new Error(`${canary.file} has ${parts.length - 1} places like ${JSON.stringify(canary.find)}, not one`);
  }
  return parts.join(canary.replace);
}
