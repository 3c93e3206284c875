/** Interleaved rounds: in each, every target does every workload, one right after another, in another order each time. */
import { quiet } from './machine.ts';
import { isDisturbed, type Measured, type Solo, type Told, type Workload } from './measured.ts';
import { startEngine, type Running, type Target } from './targets.ts';
import { warmUp } from './workloads.ts';

export interface Sample extends Measured {
  readonly round: number;
  readonly target: string;
  readonly workload: string;
  /** Every try was disturbed by others; this one the least. */
  readonly disturbed: boolean;
}

export interface Plan {
  readonly rounds: number;
  readonly seconds: number;
  readonly targets: readonly Target[];
  readonly workloads: readonly Workload[];
  readonly solos: readonly Solo[];
  /** Starts every target anew for each round: what a compiler made of one process stays with it. */
  readonly anew: boolean;
  /** Tries of one sample while others disturb it. */
  readonly tries: number;
  /** Seconds; no round but the first starts, and nothing is repeated, after it. */
  readonly limit: number;
  readonly say: (line: string) => void;
}

/** With the moment that the time is used up. */
type Bounded = Plan & { readonly end: number };

/** Seconds that a disturbed sample waits for the others to end, before it is taken again. */
const PATIENCE = 3;

export async function runRounds(plan: Plan): Promise<readonly Sample[]> {
  const bounded = { ...plan, end: performance.now() + plan.limit * 1_000 };
  const samples: Sample[] = [];
  const last = (round: number): boolean => round >= plan.rounds || (round > 0 && performance.now() >= bounded.end);
  for (let round = 0; !last(round);) {
    await using stage = await stageOf(bounded);
    const found = [...stage.here];
    samples.push(...(await workloadsOf(bounded, round, found, ({ before }) => before === true)));
    for (const [, running] of found) await warmUp(running);
    do {
      // Memory that was taken once is not given back: a second look at the same processes would tell little.
      const told = ({ before, grows }: Workload): boolean => before !== true && (grows !== true || stage.fresh);
      samples.push(...(await workloadsOf(bounded, round, found, told)));
      samples.push(...(await solosOf(bounded, round)));
      stage.fresh = false;
      round++;
    } while (!plan.anew && !last(round));
  }
  return samples;
}

interface Stage extends AsyncDisposable {
  readonly here: ReadonlyMap<Target, Running>;
  fresh: boolean;
}

async function stageOf({ targets, say }: Plan): Promise<Stage> {
  const engine = await startEngine();
  const here = new Map<Target, Running>();
  const close = async (): Promise<void> => {
    await Promise.all([...here.values()].map((running) => running.stop()));
    await engine.stop();
  };
  try {
    for (const target of targets) {
      const found = await target.start(engine);
      if (found === null) say(`${target.name} is not here`);
      else here.set(target, found);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { here, fresh: true, [Symbol.asyncDispose]: close };
}

async function workloadsOf(
  plan: Bounded,
  round: number,
  here: readonly (readonly [Target, Running])[],
  chosen: (workload: Workload) => boolean,
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (const [at, workload] of plan.workloads.filter(chosen).entries()) {
    for (const [{ name }, running] of rotated(here, round + at)) {
      const take = async (): Promise<readonly Measured[]> => [await workload.run(running, plan.seconds)];
      samples.push(...(await repeated(plan, round, name, [workload], take)));
    }
  }
  return samples;
}

async function solosOf(plan: Bounded, round: number): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const builds = plan.targets.flatMap(({ build }) => (build === undefined ? [] : [build]));
  for (const solo of plan.solos) {
    for (const build of rotated(builds, round)) {
      const take = (): Promise<readonly Measured[]> => solo.run(build, plan.seconds);
      samples.push(...(await repeated(plan, round, build.name, solo.tells, take)));
    }
  }
  return samples;
}

async function repeated(
  plan: Bounded,
  round: number,
  target: string,
  tells: readonly Told[],
  take: () => Promise<readonly Measured[]>,
): Promise<readonly Sample[]> {
  const worst = (all: readonly Measured[]): number => Math.max(...all.map((one) => one.foreign + one.stolen));
  let best: readonly Measured[] | undefined;
  for (let tried = 0; tried < plan.tries && (tried === 0 || performance.now() < plan.end); tried++) {
    if (tried > 0) await quiet(PATIENCE);
    const taken = await take();
    if (best === undefined || worst(taken) < worst(best)) best = taken;
    if (!best.some(isDisturbed)) break;
  }
  return (best ?? []).map((one, index) => {
    const { id = '', unit = '' } = tells[index] ?? {};
    const disturbed = isDisturbed(one);
    const others = (one.foreign + one.stolen).toFixed(2);
    const note = disturbed ? ` (disturbed: ${others} CPUs of others)` : '';
    plan.say(`round ${round + 1} ${target} ${id}: ${one.cost.toFixed(2)} ${unit}${note}`);
    return { ...one, round, target, workload: id, disturbed };
  });
}

export function rotated<T>(list: readonly T[], by: number): readonly T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
