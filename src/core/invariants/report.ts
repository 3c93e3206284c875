/** A broken invariant: its number in the list of invariants (`I-15`), or a word for those without one, and what was seen. */
export interface Violation {
  readonly id: string;
  readonly message: string;
}

/** Notes a violation unless `holds`; the words are made only then. */
export type Report = (id: string, holds: boolean, message: () => string) => void;

/** Compares two sets; reports each member that only one of them has. */
export function sameSet(
  report: Report,
  id: string,
  what: string,
  actual: ReadonlySet<string>,
  expected: ReadonlySet<string>,
): void {
  for (const name of actual) report(id, expected.has(name), () => `${what}: ${name} is there and should not be`);
  for (const name of expected) report(id, actual.has(name), () => `${what}: ${name} is missing`);
}
