/**
 * The gates that a change has to pass, as a multiple of nginx, or of a relay that looks at nothing, in the same round. Only CPU time and
 * memory: how long something takes says too much about who else is on the machine. Ends with `N passed, N failed`.
 */
import { refusals } from './full-path.ts';
import { GOALS, medianOf, meets, type Goal } from './goals.ts';
import { ROOT } from './launch.ts';
import { runRounds, type Sample } from './rounds.ts';
import { OURS } from './side-by-side.ts';
import { blind, gatewayTarget, nginx } from './targets.ts';
import { WORKLOADS } from './workloads.ts';

const ROUNDS = 5;
/** Tries of one sample: a round that is always disturbed counts as well, the median has to stand it. */
const TRIES = 2;
const SECONDS = 0.6;
/** Seconds: a change waits for this. */
const LIMIT = 75;
/** Held here; the others need more time, or a clock. */
const HELD: readonly Goal['of'][] = ['nginx', 'blind net.pipe', 'W1', 'cost'];
const WORKLOAD_IDS = ['idle', 'W1', 'W1-1', 'W2', 'W3', 'W4', 'W5'];

interface Options {
  readonly rounds?: string | undefined;
  readonly seconds?: string | undefined;
}

export async function ratios(options: Options): Promise<boolean> {
  const samples = await runRounds({
    ...{ rounds: Number(options.rounds ?? ROUNDS), seconds: Number(options.seconds ?? SECONDS) },
    ...{ tries: TRIES, limit: LIMIT, anew: false },
    targets: [gatewayTarget({ name: OURS, root: ROOT }), nginx, blind],
    workloads: WORKLOADS.filter(({ id }) => WORKLOAD_IDS.includes(id)),
    solos: [refusals],
    say: (line) => console.error(line),
  });
  const held = GOALS.filter(
    ({ of, workload }) => HELD.includes(of) && samples.some((one) => one.workload === workload),
  );
  const failed = held.filter((goal) => !told(goal, samples));
  console.log(`${held.length - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0;
}

function told(goal: Goal, samples: readonly Sample[]): boolean {
  const value = medianOf(goal, samples, OURS);
  const ok = value !== null && meets(goal, value, goal.gate);
  const measured = value === null ? `nothing: ${goal.of} is not here` : value.toFixed(2);
  const what = goal.of === 'cost' ? '' : `× ${goal.of} `;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${goal.workload}: ${what}${measured}, at most ${goal.gate}`);
  return ok;
}
