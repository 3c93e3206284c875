/**
 * Measures the gateway side by side with what else could stand between a client and an engine.
 *
 *   npm run bench -- [--rounds N] [--seconds S] [--only W1,W3] [--against nginx,haproxy,naive,blind] [--peer NAME=COMMAND]…
 *                   [--build NAME=FOLDER]… [--json FILE]
 *
 * Rounds are interleaved: every target in every round, in another order each time. What counts is CPU time per unit of
 * work, as a multiple of nginx in the same round; the absolute numbers of one machine say little about another.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pin, processTree } from './machine.ts';
import {
  blind,
  byCommand,
  gateway,
  haproxy,
  LOAD_CPU,
  naive,
  nginx,
  startEngine,
  type Running,
  type Target,
} from './targets.ts';
import { engines, quantile, WORKLOADS, type Measured, type Workload } from './workloads.ts';

/** A sample taken while others used more than this many CPUs is taken again, up to `TRIES` times. */
const FOREIGN_LIMIT = 0.3;
const TRIES = 3;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string' },
    against: { type: 'string', default: 'nginx,haproxy,naive,blind' },
    peer: { type: 'string', multiple: true, default: [] },
    build: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
  },
});

const KNOWN: Readonly<Record<string, Target>> = { nginx, haproxy, naive, blind };
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Sample extends Measured {
  readonly round: number;
  readonly target: string;
  readonly workload: string;
}

async function main(): Promise<void> {
  pin(process.pid, LOAD_CPU);
  const chosen = options.only?.split(',');
  const workloads = WORKLOADS.filter(({ id }) => chosen === undefined || chosen.includes(id));
  const others = options.against.split(',').flatMap((name) => KNOWN[name] ?? []);
  const builds = options.build.map((text) => {
    const equals = text.indexOf('=');
    return gateway(text.slice(0, equals), text.slice(equals + 1));
  });
  const targets = [gateway('vllm-gateway', root), ...builds, ...others, ...options.peer.map(byCommand)];
  const engine = await startEngine();
  const samples: Sample[] = [];
  try {
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const target of rotated(targets, round)) {
        const found = await target.start(engine.port);
        if (found === null) {
          if (round === 0) console.error(`${target.name} is not here`);
          continue;
        }
        try {
          engines.pids = () => [...engine.pids(), ...childrenOf(found)];
          for (const workload of workloads) samples.push(await sample(round, target, found, workload));
        } finally {
          await found.stop();
        }
      }
    }
  } finally {
    await engine.stop();
  }
  report(samples, workloads, targets);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(samples, null, 1)}\n`);
}

const childrenOf = (found: Running): readonly number[] => {
  const own = found.pids();
  return processTree(own).filter((pid) => !own.includes(pid));
};

async function sample(round: number, target: Target, found: Running, workload: Workload): Promise<Sample> {
  let last: Measured | undefined;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    last = await workload.run(found, Number(options.seconds));
    if (last.foreign <= FOREIGN_LIMIT) break;
  }
  if (last === undefined) throw new Error('nothing was measured');
  const note = last.foreign > FOREIGN_LIMIT ? ` (disturbed: ${last.foreign.toFixed(2)} CPUs of others)` : '';
  console.error(`round ${round + 1} ${target.name} ${workload.id}: ${last.cost.toFixed(2)} ${workload.unit}${note}`);
  return { ...last, round, target: target.name, workload: workload.id };
}

function rotated<T>(list: readonly T[], by: number): readonly T[] {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function report(samples: readonly Sample[], workloads: readonly Workload[], targets: readonly Target[]): void {
  const base = targets.some(({ name }) => name === nginx.name) ? nginx.name : (targets[1]?.name ?? '');
  for (const { id, title, unit } of workloads) {
    console.log(`\n${id} ${title} (${unit})`);
    for (const { name } of targets) {
      const own = samples.filter((one) => one.workload === id && one.target === name);
      if (own.length === 0) continue;
      const ratios = own.flatMap((one) => {
        const other = samples.find((it) => it.workload === id && it.target === base && it.round === one.round);
        return other === undefined || other.cost <= 0 ? [] : one.cost / other.cost;
      });
      const cells = [
        name.padEnd(24),
        `${median(own.map((one) => one.cost)).toFixed(2)}`.padStart(10),
        `× ${base} ${median(ratios).toFixed(2)}`,
        `(${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`,
        own[0]?.p50 === null ? '' : `p50 ${median(own.flatMap((one) => one.p50 ?? [])).toFixed(2)} ms`,
        own[0]?.p99 === null ? '' : `p99 ${median(own.flatMap((one) => one.p99 ?? [])).toFixed(2)} ms`,
        Math.min(...own.map((one) => one.carried)) < 0.99
          ? `carried ${Math.min(...own.map((one) => one.carried)).toFixed(2)}`
          : '',
      ];
      console.log(`  ${cells.filter(Boolean).join('  ')}`);
    }
  }
}

const median = (values: readonly number[]): number => quantile(values, 0.5) ?? Number.NaN;

await main();
