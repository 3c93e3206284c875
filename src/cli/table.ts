/** Plain tables: columns padded to their widest cell, nothing drawn. */

/** A cell may be styled: `text` sets the width, `shown` is written. */
export interface Cell {
  readonly text: string;
  readonly shown: string;
}

export function plain(text: string): Cell {
  return { text, shown: text };
}

const GAP = '  ';

/** Lines without a final newline; empty columns (no cell has text) are left out. */
export function renderTable(heads: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  const used = heads.map((_, index) => index).filter((index) => rows.some((row) => (row[index]?.text ?? '') !== ''));
  const lines = [heads, ...rows];
  const widths = used.map((index) => Math.max(...lines.map((row) => row[index]?.text.length ?? 0)));
  return lines
    .map((row) =>
      used
        .map((index, position) => {
          const cell = row[index] ?? plain('');
          const padding = position === used.length - 1 ? 0 : (widths[position] ?? 0) - cell.text.length;
          return cell.shown + ' '.repeat(padding);
        })
        .join(GAP)
        .trimEnd(),
    )
    .join('\n');
}
