/** A model has one colour wherever it appears. There are eight; the ninth model shares with the first. */
const COLOURS = 8;

export function colourOf(model: string, models: readonly string[]): string {
  return `m${Math.max(0, models.indexOf(model)) % COLOURS}`;
}
