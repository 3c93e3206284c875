/** Waiting for a condition, with a deadline that says what did not come true. */

const LOOK_EVERY_MS = 10;
/** Nothing here takes so long but on a machine that is busy with other things. */
const LIMIT_MS = 45_000;

/** Resolves with the first value that is neither undefined, null nor false. A look that throws counts as not yet. */
export async function eventually<Value>(
  what: string,
  look: () => Value | Promise<Value>,
  limitMs = LIMIT_MS,
): Promise<NonNullable<Exclude<Value, false>>> {
  const deadline = performance.now() + limitMs;
  let failure: unknown;
  for (;;) {
    try {
      const value = await look();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<Exclude<Value, false>>;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) {
      throw new Error(
        `${what}: did not come true within ${limitMs} ms`,
        failure === undefined ? {} : { cause: failure },
      );
    }
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_EVERY_MS);
    });
  }
}

/** Milliseconds that something took, with its result. */
export async function timed<Value>(run: () => Promise<Value>): Promise<{ readonly value: Value; readonly ms: number }> {
  const began = performance.now();
  const value = await run();
  return { value, ms: performance.now() - began };
}
