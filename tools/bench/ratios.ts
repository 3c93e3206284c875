/**
 * The gates that a change has to pass, as a multiple of nginx, or of a relay that looks at nothing, in the same round. Only CPU time and
 * memory: how long something takes says too much about who else is on the machine. Rounds that others disturbed are not judged, because
 * they are wrong in both directions; where too few are left, that is said and nothing is judged. A change fails when the best of the others is
 * beyond the gate: work of others that nobody saw makes the median of a few rounds what it likes. Ends with `N passed, N failed`.
 */
import { refusals } from './full-path.ts';
import { GOALS, meets, valuesOf, type Goal } from './goals.ts';
import { ROOT } from './launch.ts';
import { median } from './measured.ts';
import { runRounds, type Sample } from './rounds.ts';
import { OURS } from './side-by-side.ts';
import { blind, gatewayTarget, nginx } from './targets.ts';
import { WORKLOADS } from './workloads.ts';

const ROUNDS = 5;
/** Tries of one sample: a round that is always disturbed counts as well, the median has to stand it. */
const TRIES = 2;
const SECONDS = 0.6;
/** Seconds: a change waits for this. */
const LIMIT = 60;
/** Held here; the others need more time, or a clock. */
const HELD: readonly Goal['of'][] = ['nginx', 'blind net.pipe', 'W1', 'cost'];
/** Told of a process once, and by nothing that others do to the clock. */
const ONCE = ['idle', 'W5'];
const WORKLOAD_IDS = ['idle', 'W1', 'W1-1', 'W2', 'W3', 'W4', 'W5'];

interface Options {
  readonly rounds?: string | undefined;
  readonly seconds?: string | undefined;
}

export async function ratios(options: Options): Promise<boolean> {
  const rounds = Number(options.rounds ?? ROUNDS);
  const samples = await runRounds({
    ...{ rounds, seconds: Number(options.seconds ?? SECONDS) },
    ...{ tries: TRIES, limit: LIMIT, anew: false },
    targets: [gatewayTarget({ name: OURS, root: ROOT }), nginx, blind],
    workloads: WORKLOADS.filter(({ id }) => WORKLOAD_IDS.includes(id)),
    solos: [refusals],
    say: (line) => console.error(line),
  });
  const held = GOALS.filter(
    ({ of, workload }) => HELD.includes(of) && samples.some((one) => one.workload === workload),
  );
  const verdicts = held.map((goal) => judge(goal, samples, rounds));
  for (const { line } of verdicts) console.log(line);
  const count = (wanted: Verdict['verdict']): number => verdicts.filter(({ verdict }) => verdict === wanted).length;
  if (count('not judged') > 0) console.log(`${count('not judged')} not judged: others were at work on this machine`);
  console.log(`${count('passed')} passed, ${count('failed')} failed`);
  return count('failed') === 0;
}

export interface Verdict {
  readonly verdict: 'passed' | 'failed' | 'not judged';
  readonly line: string;
}

/** `rounds`: as many as were planned; more than half of them have to be undisturbed. */
export function judge(goal: Goal, samples: readonly Sample[], rounds: number): Verdict {
  const undisturbed = samples.filter(({ disturbed }) => !disturbed);
  const what = `${goal.workload}: ${goal.of === 'cost' ? '' : `× ${goal.of} `}`;
  if (goal.of !== 'cost' && goal.of !== 'W1' && !samples.some(({ target }) => target === goal.of))
    return { verdict: 'failed', line: `FAILED     ${what}cannot be told: ${goal.of} is not here` };
  const values = valuesOf(goal, undisturbed, OURS);
  const needed = ONCE.includes(goal.workload) ? 1 : Math.floor(rounds / 2) + 1;
  const best = Math.min(...values);
  const told =
    values.length === 0 ? '' : `${median(values).toFixed(2)}, at best ${best.toFixed(2)}, at most ${goal.gate}, `;
  const line = `${what}${told}${values.length} undisturbed rounds`;
  if (values.length < needed) return { verdict: 'not judged', line: `not judged ${line}` };
  return meets(goal, best, goal.gate)
    ? { verdict: 'passed', line: `ok         ${line}` }
    : { verdict: 'failed', line: `FAILED     ${line}` };
}
