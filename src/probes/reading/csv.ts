/**
 * One table as `nvidia-smi --query-… --format=csv` prints it, read strictly: what the numbers mean hangs on the header, so
 * without the header that was asked for nothing is believed. Cells are divided by a comma and a space, never quoted.
 */
import { ProbeError, excerpt } from './probe-error.ts';

export interface Table {
  readonly rows: readonly (readonly string[])[];
  /** What stood around the table: warnings, complaints about devices that do not answer. */
  readonly remarks: readonly string[];
}

const DIVIDER = ', ';
/** Lines that nvidia-smi prints between or after rows, and that say nothing against the rows. */
const REMARK = /^(WARNING\b|Unable to determine the device handle|No running (compute )?processes found)/i;
const CONTROL = /[\u0000-\u001f\u007f-\u009f\ufffd]/;

/**
 * `columns` are the spellings that each column may have in the header. Cells beyond the last column belong to it: a name
 * may hold commas. @throws ProbeError when the header is missing, or a line behind it is no row.
 */
export function readTable(text: string, columns: readonly (readonly string[])[]): Table {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const remarks: string[] = [];
  const rows: (readonly string[])[] = [];
  let seen = false;
  for (const [index, line] of lines.entries()) {
    if (line === '') continue;
    if (!seen && isHeader(line, columns)) seen = true;
    else if (!seen || REMARK.test(line)) remarks.push(excerpt(line));
    else rows.push(readRow(line, columns.length, index + 1));
  }
  if (!seen) throw new ProbeError(remarks[0] === undefined ? 'it printed nothing' : `it printed ${quoted(remarks)}`);
  return { rows, remarks };
}

function isHeader(line: string, columns: readonly (readonly string[])[]): boolean {
  const names = line.split(DIVIDER);
  return names.length === columns.length && columns.every((spellings, index) => spellings.includes(names[index] ?? ''));
}

function readRow(line: string, columns: number, number: number): readonly string[] {
  const cells = line.split(DIVIDER);
  if (cells.length < columns || CONTROL.test(line)) {
    throw new ProbeError(`line ${number} of its output is no row of the table: ${quoted([excerpt(line)])}`);
  }
  return [...cells.slice(0, columns - 1), cells.slice(columns - 1).join(DIVIDER)].map((cell) => cell.trim());
}

function quoted(lines: readonly string[]): string {
  return lines[0] === '' || lines[0] === undefined ? 'nothing legible' : JSON.stringify(lines[0]);
}
