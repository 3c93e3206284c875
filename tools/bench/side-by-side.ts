/** `npm run bench`: this build beside everything else that is here, as a table of ratios, as JSON and as plots. */
import { writeFileSync } from 'node:fs';
import { mixed, refusals } from './full-path.ts';
import { pinning, pinToLoad, ROOT } from './launch.ts';
import { byCommand, knownPeers } from './peers.ts';
import { placeOf, render, rowsOf, type Row, type Run } from './record.ts';
import { runRounds, type Plan } from './rounds.ts';
import { coldStarts, swaps } from './swap.ts';
import { blind, direct, gatewayTarget, haproxy, naive, nginx, type Target } from './targets.ts';
import { WORKLOADS } from './workloads.ts';

export const OURS = 'vllm-gateway';

export interface Options {
  readonly rounds: string;
  readonly seconds: string;
  readonly only?: string | undefined;
  readonly against?: string | undefined;
  readonly peer: readonly string[];
  readonly build: readonly string[];
  readonly json?: string | undefined;
}

const ALL: readonly Target[] = [nginx, haproxy, blind, naive, direct, ...knownPeers];
const SHORT: Readonly<Record<string, Target>> = {
  ...Object.fromEntries(ALL.map((target) => [target.name, target])),
  ...{ blind, naive, direct },
};

/** Tries of a sample that others disturb. */
const TRIES = 3;

function planOf(options: Options): Plan {
  const ids = options.only?.split(',');
  const chosen = ({ id }: { readonly id: string }): boolean => ids === undefined || ids.includes(id);
  const others = options.against?.split(',').map((name) => {
    const target = SHORT[name];
    if (target === undefined) throw new Error(`--against: ${name} is none of ${Object.keys(SHORT).join(', ')}`);
    return target;
  });
  const builds = options.build.map((text) => {
    const equals = text.indexOf('=');
    return gatewayTarget({ name: text.slice(0, equals), root: text.slice(equals + 1) });
  });
  return {
    ...{ rounds: Number(options.rounds), seconds: Number(options.seconds), tries: TRIES, limit: Infinity, anew: true },
    targets: [gatewayTarget({ name: OURS, root: ROOT }), ...builds, ...(others ?? ALL), ...options.peer.map(byCommand)],
    workloads: WORKLOADS.filter(chosen),
    solos: [mixed, refusals, coldStarts, swaps].filter(({ tells }) => tells.some(chosen)),
    say: (line) => console.error(line),
  };
}

export async function sideBySide(options: Options, command: string): Promise<void> {
  pinning.on = true;
  pinToLoad(process.pid);
  const plan = planOf(options);
  const samples = await runRounds(plan);
  const run: Run = {
    ...placeOf(ROOT),
    command,
    ...{ rounds: plan.rounds, seconds: plan.seconds },
    targets: plan.targets
      .filter(({ name }) => samples.some(({ target }) => target === name))
      .map(({ name, readsBody, build }) => ({ name, readsBody, ours: build !== undefined })),
    workloads: [...plan.workloads, ...plan.solos.flatMap(({ tells }) => tells)].map(({ id, title, unit }) => ({
      ...{ id, title, unit },
    })),
    samples,
  };
  console.log(report(run));
  if (options.json !== undefined) writeFileSync(options.json, render(run));
}

export function report({ workloads, samples }: Run): string {
  const base = samples.some(({ target }) => target === nginx.name) ? nginx.name : blind.name;
  const lines = workloads.flatMap(({ id, title, unit }) => [
    `\n${id} ${title} (${unit})`,
    ...rowsOf(samples, id, base).map((row) => `  ${lineOf(row, base)}`),
  ]);
  return lines.join('\n');
}

function lineOf({ target, cost, ratio, p50, p99, loop, carried, rounds, disturbed }: Row, base: string): string {
  const told = (name: string, value: number | null): string => (value === null ? '' : `${name} ${value.toFixed(2)} ms`);
  const range = (ratio ?? []).map((one) => one.toFixed(2));
  return [
    target.padEnd(24),
    cost.toFixed(2).padStart(10),
    ratio === null ? '' : `× ${base} ${range[0]} (${range[1]}–${range[2]})`,
    told('p50', p50),
    told('p99', p99),
    told('loop p99', loop),
    carried < 0.99 ? `carried ${carried.toFixed(2)}` : '',
    disturbed > 0 ? `${disturbed} of ${rounds} disturbed` : '',
  ]
    .filter(Boolean)
    .join('  ');
}
