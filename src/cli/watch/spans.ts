/** Lines of a screen: styled pieces that are cut to a width without counting what is not seen. */
import type { Colour, OutputStream } from '../world.ts';

export interface Span {
  readonly text: string;
  readonly colour?: Colour;
}

export type Line = readonly Span[];

export const span = (text: string, colour?: Colour): Span => ({
  // A name or a reason from outside must not move the cursor.
  text: text.replaceAll(/\p{Cc}+/gu, ' '),
  ...(colour === undefined ? {} : { colour }),
});

export const width = (line: Line): number => line.reduce((total, { text }) => total + text.length, 0);

/** At most `columns` wide; what is cut off is marked. */
export function fitted(line: Line, columns: number, more: string): Line {
  if (width(line) <= columns) return line;
  const kept: Span[] = [];
  let left = columns - more.length;
  for (const piece of line) {
    if (left <= 0) break;
    kept.push({ ...piece, text: piece.text.slice(0, left) });
    left -= piece.text.length;
  }
  return columns < more.length ? [] : [...kept, { text: more, colour: 'dim' }];
}

export function shown(line: Line, out: OutputStream): string {
  return line
    .map(({ text, colour }) => (colour === undefined || text === '' ? text : out.style(colour, text)))
    .join('');
}

/** Columns padded to their widest cell; the last one runs on. */
export function table(rows: readonly Line[], gap = 2): readonly Line[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, index) =>
    Math.max(0, ...rows.map((row) => row[index]?.text.length ?? 0)),
  );
  return rows.map((row) =>
    row.flatMap((cell, index) => {
      const last = index === row.length - 1;
      return last ? [cell] : [cell, { text: ' '.repeat((widths[index] ?? 0) - cell.text.length + gap) }];
    }),
  );
}
