/** Plots as SVG: bars with the range of their rounds, one colour a target, readable on light and on dark. */

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** Least and most of the rounds. */
  readonly low?: number;
  readonly high?: number;
}

export interface Group {
  readonly label: string;
  readonly bars: readonly Bar[];
}

export interface Plot {
  readonly title: string;
  readonly unit: string;
  /** Names in their order; the first is the one that stands out. */
  readonly names: readonly string[];
  readonly groups: readonly Group[];
}

const WIDTH = 900;
const LEFT = 210;
const RIGHT = 70;
const BAR = 13;
const GAP = 18;
const TOP = 74;
const LEGEND_STEP = 168;
const LEGEND_ROW = 18;
const LEGEND_COLUMNS = 5;
const COLOURS = ['#0b7a75', '#8d99ae', '#b0883e', '#5a6acf', '#a35d9c', '#6f8f3a', '#c0563b', '#777777', '#3f8fbf'];

const STYLE = `text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-size:15px;font-weight:600}.muted{fill:#6e7781}.grid{stroke:#d0d7de}.range{stroke:#24292f}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.muted{fill:#9198a1}.grid{stroke:#3d444d}.range{stroke:#e6edf3}}`;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

/** Tens and their halves and fifths around all values. */
export function ticksOf(low: number, high: number): readonly number[] {
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const step of [1, 2, 5]) ticks.push(Number((step * 10 ** power).toPrecision(1)));
  const first = ticks.findLastIndex((tick) => tick <= low);
  const last = ticks.findIndex((tick) => tick >= high);
  return ticks.slice(Math.max(0, first), last < 0 ? undefined : last + 1);
}

export const shown = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** On a scale of ratios: twice as much is as far everywhere. */
export function plotOf({ title, unit, names, groups }: Plot): string {
  const bars = groups.flatMap((group) => group.bars).filter(({ value }) => value > 0);
  const lows = bars.map(({ value, low = value }) => (low > 0 ? low : value));
  const ticks = ticksOf(Math.min(...lows), Math.max(...bars.map(({ value, high = value }) => high)));
  const [from = 1, to = 10] = [ticks[0], ticks.at(-1)];
  const x = (value: number): number =>
    LEFT + (Math.log(Math.max(value, from) / from) / Math.log(to / from || 1)) * (WIDTH - LEFT - RIGHT);
  const head = TOP + Math.floor((names.length - 1) / LEGEND_COLUMNS) * LEGEND_ROW;
  const parts: string[] = [];
  let y = head;
  for (const { label, bars: inside } of groups) {
    const height = inside.length * BAR;
    parts.push(
      `<text x="${LEFT - 10}" y="${(y + height / 2 + 4).toFixed(0)}" text-anchor="end">${escaped(label)}</text>`,
    );
    for (const bar of inside) {
      parts.push(barOf(bar, names.indexOf(bar.name), y, x));
      y += BAR;
    }
    y += GAP;
  }
  const grid = ticks.map(
    (tick) =>
      `<line class="grid" x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${head - 6}" y2="${y - GAP + 4}"/>` +
      `<text class="muted" x="${x(tick).toFixed(1)}" y="${y}" text-anchor="middle">${tick}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 12}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<text class="title" x="10" y="22">${escaped(title)}</text>`,
    `<text class="muted" x="10" y="40">${escaped(unit)}</text>`,
    ...names.map(legendOf),
    ...grid,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

function legendOf(name: string, index: number): string {
  const at = 10 + (index % LEGEND_COLUMNS) * LEGEND_STEP;
  const y = 58 + Math.floor(index / LEGEND_COLUMNS) * LEGEND_ROW;
  return `<rect x="${at}" y="${y - 9}" width="10" height="10" fill="${colourOf(index)}"/><text x="${at + 15}" y="${y}">${escaped(name)}</text>`;
}

const colourOf = (index: number): string => COLOURS[index % COLOURS.length] ?? '#777777';

function barOf({ value, low, high }: Bar, index: number, y: number, x: (value: number) => number): string {
  if (value <= 0) return '';
  const end = x(value);
  const middle = y + BAR / 2;
  const range =
    low === undefined || high === undefined
      ? ''
      : `<line class="range" x1="${x(low).toFixed(1)}" x2="${x(high).toFixed(1)}" y1="${middle}" y2="${middle}"/>`;
  const told = Math.max(end, high === undefined ? end : x(high)) + 5;
  return (
    `<rect x="${LEFT}" y="${y + 1}" width="${Math.max(1, end - LEFT).toFixed(1)}" height="${BAR - 2}" fill="${colourOf(index)}"/>${range}` +
    `<text class="muted" x="${told.toFixed(1)}" y="${y + BAR - 2}">${shown(value)}</text>`
  );
}
