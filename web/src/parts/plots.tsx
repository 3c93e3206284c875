/** Three small plots of the last minutes. Drawn by hand: they are lines. */
import type { ActivityEvent } from '../../../src/admin/contract.ts';
import { duration, quantity } from '../format.ts';
import { ratesOf, SPAN_S, type Point } from '../rates.ts';

const WIDTH = 300;
const HEIGHT = 56;
/** What is drawn grows with what is known, from a minute on. */
const LEAST_SPAN_S = 60;

export function Plots({ activity }: { readonly activity: readonly ActivityEvent[] }) {
  const { requests, firstByte, tokens } = ratesOf(activity);
  const span = Math.min(SPAN_S, Math.max(LEAST_SPAN_S, -(requests[0]?.at ?? 0)));
  return (
    <section aria-labelledby="activity">
      <h2 id="activity">
        Activity <small>since this page was opened, up to five minutes</small>
      </h2>
      <div class="plots">
        <Plot title="Requests" unit="/s" points={requests} span={span} format={quantity} />
        <Plot title="Time to first byte" unit="" points={firstByte} span={span} format={duration} />
        <Plot title="Tokens" unit="/s" points={tokens} span={span} format={quantity} />
      </div>
    </section>
  );
}

interface PlotProps {
  readonly title: string;
  readonly unit: string;
  readonly points: readonly Point[];
  /** Seconds. */
  readonly span: number;
  readonly format: (value: number) => string;
}

function Plot({ title, unit, points, span, format }: PlotProps) {
  const known = points.flatMap(({ value }) => (value === null ? [] : [value]));
  const highest = Math.max(0, ...known);
  const last = points.at(-1)?.value ?? null;
  const shown = last === null ? '–' : `${format(last)}${unit}`;
  const { line, area } = pathsOf(points, highest, span);
  return (
    <figure class="plot">
      <figcaption>
        {title}
        <strong class="number">{shown}</strong>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: now ${shown}, at most ${format(highest)}${unit}`}
      >
        <line x1="0" x2={WIDTH} y1={HEIGHT - 1} y2={HEIGHT - 1} class="floor" />
        <line x1="0" x2={WIDTH} y1="4" y2="4" class="ceiling" />
        <path d={area} class="area" />
        <path d={line} class="line" />
      </svg>
      <div class="axis" aria-hidden="true">
        <span>−{span < 2 * LEAST_SPAN_S ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`}</span>
        <span>{highest > 0 ? `peak ${format(highest)}${unit}` : 'nothing yet'}</span>
        <span>now</span>
      </div>
    </figure>
  );
}

/** Gaps stay gaps: between answers there is no time to a first byte. */
function pathsOf(
  points: readonly Point[],
  highest: number,
  span: number,
): { readonly line: string; readonly area: string } {
  const scale = highest > 0 ? (HEIGHT - 5) / highest : 0;
  const stretches: { readonly x: number; readonly y: number }[][] = [];
  let open: { readonly x: number; readonly y: number }[] | null = null;
  for (const { at, value } of points) {
    if (value === null) {
      open = null;
      continue;
    }
    if (!open) stretches.push((open = []));
    open.push({ x: WIDTH * (1 + at / span), y: HEIGHT - 1 - value * scale });
  }
  const draw = (stretch: readonly { readonly x: number; readonly y: number }[]): string =>
    stretch.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L');
  const line = stretches.map((stretch) => `M${draw(stretch)}`).join('');
  const area = stretches
    .map(
      (stretch) => `M${stretch[0]?.x.toFixed(1)} ${HEIGHT}L${draw(stretch)}L${stretch.at(-1)?.x.toFixed(1)} ${HEIGHT}Z`,
    )
    .join('');
  return { line, area };
}
