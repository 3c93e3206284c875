/** What a form of load has to keep: measured, limit, verdict. */

export interface Gate {
  readonly name: string;
  readonly measured: number | string;
  readonly limit: string;
  readonly ok: boolean;
}

export class Gates {
  readonly all: Gate[] = [];
  /** Measured and told, without a limit. */
  readonly figures: Record<string, number | string> = {};

  exactly(name: string, measured: number, expected: number): void {
    this.add(name, measured, `= ${shown(expected)}`, measured === expected);
  }

  /** A value that is no number never passes. */
  atMost(name: string, measured: number, limit: number, unit = ''): void {
    this.add(name, measured, `≤ ${shown(limit)}${unit === '' ? '' : ` ${unit}`}`, measured <= limit);
  }

  atLeast(name: string, measured: number, limit: number, unit = ''): void {
    this.add(name, measured, `≥ ${shown(limit)}${unit === '' ? '' : ` ${unit}`}`, measured >= limit);
  }

  /** `found`: what should not be there, by name. */
  none(name: string, found: Readonly<Record<string, number>> | readonly string[]): void {
    const texts = Array.isArray(found)
      ? found.slice(0, 5)
      : Object.entries(found).map(([what, count]) => `${count} × ${what}`);
    const count = Array.isArray(found) ? found.length : Object.values(found).reduce((sum, one) => sum + one, 0);
    this.add(name, count === 0 ? 0 : `${count}: ${texts.join('; ')}`, '= 0', count === 0);
  }

  figure(name: string, value: number | string): void {
    this.figures[name] = typeof value === 'number' ? rounded(value) : value;
  }

  private add(name: string, measured: number | string, limit: string, ok: boolean): void {
    this.all.push({ name, measured: typeof measured === 'number' ? rounded(measured) : measured, limit, ok });
  }
}

function rounded(value: number): number {
  return Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4));
}

export function shown(value: number | string): string {
  return typeof value === 'number' ? String(rounded(value)) : value;
}

/** Columns in line; the last line counts. */
export function tableOf(gates: readonly Gate[]): string {
  const rows = [
    ['gate', 'measured', 'limit', ''],
    ...gates.map((gate) => [gate.name, shown(gate.measured), gate.limit, gate.ok ? 'ok' : 'FAILED']),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 3 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
