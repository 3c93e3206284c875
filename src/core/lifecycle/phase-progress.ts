/** How far something is that takes a while: the phase that it is in, and the bar that the phase draws, if it draws one. */
import { SECOND, type Milliseconds } from '../../units.ts';

export interface PhaseProgress {
  readonly phase: string;
  /** When the phase began; monotonic, as all times here. */
  readonly since: Milliseconds;
  /** As last told in this phase, in [0, 1]; null = never. */
  readonly fraction: number | null;
  /** Where its bar stood when it was first seen: a download that goes on from half says nothing of its pace by that. */
  readonly from: { readonly fraction: number; readonly at: Milliseconds } | null;
  /** When the fraction last changed. */
  readonly movedAt: Milliseconds;
}

/** What a bar must have gained, in this time at least, before its pace says anything. */
const LEAST_GAIN = 0.02;
const LEAST_TIME: Milliseconds = SECOND / 2;
/** Where an engine downloads by itself, its bars count files, small ones first, or tell of one file after the other. */
const UNEVEN = 'download';

/**
 * A line that says nothing of the bar leaves it where it is. A bar may step back a little, as totals become known; one that
 * falls by half is another bar of the same phase.
 */
export function advanced(
  before: PhaseProgress | null,
  phase: string,
  fraction: number | null,
  now: Milliseconds,
): PhaseProgress {
  if (before === null || before.phase !== phase) {
    return { phase, since: now, fraction, from: fraction === null ? null : { fraction, at: now }, movedAt: now };
  }
  if (fraction === null || fraction === before.fraction) return before;
  const goesOn = before.from !== null && before.fraction !== null && fraction > before.fraction / 2;
  return { ...before, fraction, from: goesOn ? before.from : { fraction, at: now }, movedAt: now };
}

/** The rest of the present phase at the pace of its bar, as `expected` has it; null when there is no pace to go by. */
export function leftByPace(progress: PhaseProgress, now: Milliseconds): Milliseconds | null {
  const { phase, fraction, from, movedAt } = progress;
  if (phase === UNEVEN || fraction === null || from === null || fraction >= 1) return null;
  const gained = fraction - from.fraction;
  const took = movedAt - from.at;
  if (gained < LEAST_GAIN || took < LEAST_TIME) return null;
  const left = ((1 - fraction) / gained) * took;
  return expected(left - (now - movedAt), left);
}

/**
 * What is late is taken to need as long again as it is late by now: an estimate that has passed grows and does not stay at
 * zero. Once it is late by `span`, the whole of what was expected, nobody knows: null.
 */
export function expected(left: Milliseconds, span: Milliseconds): Milliseconds | null {
  const late = 0 - left;
  if (late <= 0) return left;
  return late <= span ? late : null;
}
