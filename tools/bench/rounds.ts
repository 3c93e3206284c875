/** Interleaved rounds: in each, every target does every workload, one right after another, in another order each time. */
import type { Build } from './gateway-target.ts';
import { quiet } from './machine.ts';
import { isDisturbed, type Measured, type Solo, type Told, type Workload } from './measured.ts';
import { startEngine, type Running, type Target } from './targets.ts';

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
  const samples: Sample[] = [];
  const missing = new Set<Target>();
  const end = performance.now() + plan.limit * 1_000;
  for (let round = 0; round < plan.rounds && (round === 0 || performance.now() < end); round++) {
    const engine = await startEngine();
    const here = new Map<Target, Running>();
    try {
      for (const target of plan.targets) {
        if (missing.has(target)) continue;
        const found = await target.start(engine);
        if (found === null) {
          missing.add(target);
          plan.say(`${target.name} is not here`);
        } else here.set(target, found);
      }
      for (const [at, workload] of plan.workloads.entries()) {
        for (const [target, found] of rotated([...here], round + at)) {
          const take = async (): Promise<readonly Measured[]> => [await workload.run(found, plan.seconds)];
          samples.push(...(await repeated({ ...plan, end }, round, target.name, [workload], take)));
        }
      }
    } finally {
      await Promise.all([...here.values()].map((found) => found.stop()));
      await engine.stop();
    }
    samples.push(...(await solosOf({ ...plan, end }, round)));
  }
  return samples;
}

async function solosOf(plan: Bounded, round: number): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const builds = plan.targets.flatMap(({ build }) => (build === undefined ? [] : [build]));
  for (const solo of plan.solos) {
    for (const build of rotated(builds, round)) {
      const take = (): Promise<readonly Measured[]> => solo.run(build satisfies Build, plan.seconds);
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
