/** From a seed to a world: its limits, its faults, who asks what, and what befalls the gateway. */
import { SECOND, type Milliseconds } from '../../../src/units.ts';
import { Random } from '../random.ts';
import type { Order } from './client.ts';
import type { EngineRules } from './engine.ts';
import type { WireRules } from './wire.ts';

export interface ShellPlan {
  readonly seed: number;
  readonly yaml: string;
  readonly maxConcurrent: number;
  readonly models: readonly string[];
  readonly wire: WireRules;
  readonly engines: EngineRules;
  readonly machineLatencyMs: Milliseconds;
  readonly clients: readonly (readonly Order[])[];
  /** How gateway processes end, and how long after the one before began. */
  readonly ends: readonly {
    readonly how: 'kill' | 'drain';
    readonly afterMs: Milliseconds;
    readonly gapMs: Milliseconds;
  }[];
}

const MODELS = ['ada', 'bob', 'cyd'] as const;

/** Nothing goes wrong any more. */
export function healed(rules: EngineRules): EngineRules {
  const temper = { ...rules.temper, faultRate: 0, gapMs: Math.min(rules.temper.gapMs, 300) };
  return { ...rules, startFails: 0, strangers: 0, ignoresTerm: 0, refuses: 0, swallows: 0, temper };
}

export function planOf(seed: number): ShellPlan {
  const random = new Random(seed, 'shell plan');
  const calm = random.chance(0.2);
  const models = MODELS.slice(0, random.int(1, MODELS.length));
  const maxConcurrent = random.pick([1, 1, 2, 4]);
  const sometimes = (rate: number): number => (calm || random.chance(0.5) ? 0 : rate);
  return {
    seed,
    maxConcurrent,
    models,
    yaml: yamlOf(random, models, maxConcurrent),
    wire: {
      latencyMs: random.pick([0, 1, 5, 40]),
      pieceBytes: random.pick([0, 0, 1, 7, 64]),
      windowBytes: random.pick([256, 4_096, 65_536]),
      bufferBytes: random.pick([512, 16_384]),
    },
    engines: {
      startMs: random.pick([50, 2_000, 30_000]),
      startFails: sometimes(0.3),
      strangers: sometimes(0.2),
      termMs: random.pick([0, 100, 3_000]),
      ignoresTerm: sometimes(0.3),
      refuses: sometimes(0.2),
      swallows: sometimes(0.05),
      temper: {
        faultRate: calm ? 0 : random.pick([0, 0.1, 0.4]),
        thinkMs: random.pick([0, 20, 1_000]),
        gapMs: random.pick([0, 5, 5, 300, 2_000]),
        tokens: random.pick([3, 12]),
      },
    },
    machineLatencyMs: random.pick([0, 1, 20]),
    clients: clientsOf(random, seed, models),
    ends: calm ? [] : endsOf(random),
  };
}

function yamlOf(random: Random, models: readonly string[], maxConcurrent: number): string {
  const entries = models.map(
    (name) =>
      `  ${name}: { repo: org/${name}, memory: ${random.pick([9, 9, 12])}GiB, aliases: [${name}-alias], stop_timeout: 9s }`,
  );
  const seconds = (...choices: readonly [number, ...number[]]): string => `${random.pick(choices)}s`;
  return [
    `server: { listen: 127.0.0.1:9000, state_dir: /state, shutdown_timeout: ${seconds(1, 20)},`,
    `  keepalive: { after: ${seconds(1, 10)}, every: ${seconds(1, 15)} } }`,
    `limits: { max_queue_size: ${random.pick([1, 3, 50])}, max_concurrent: ${maxConcurrent},`,
    `  queue_timeout: ${seconds(20, 120)}, max_turn: ${seconds(5, 30)}, min_residency: ${seconds(0, 10)},`,
    `  drain_timeout: ${seconds(5, 60)}, max_buffered_bytes: 1MiB }`,
    `timeouts: { connect: ${seconds(1, 5)}, request: ${seconds(5, 60)}, total: ${seconds(0, 30)}, stall: 20s }`,
    `retry: { attempts: ${random.int(1, 3)}, delay: ${random.pick([0, 1])}s, engine_down: ${random.chance(0.8)} }`,
    'devices: { probe: simulated, list: [{ id: gpu-0, memory: 24GiB }] }',
    'drivers: { default: process, process: { command: [simulated-vllm], port_range: 20000-20019 } }',
    `defaults: { inactivity_timeout: ${seconds(5, 120)}, start_timeout: 120s }`,
    'models:',
    ...entries,
  ].join('\n');
}

function clientsOf(random: Random, seed: number, models: readonly string[]): Order[][] {
  const crowd = random.pick([2, 6, 14]);
  const leaveRate = random.pick([0, 0.2, 0.5]);
  const spread = random.pick([100, 3_000, 20_000]);
  return Array.from({ length: crowd }, (_, client) =>
    Array.from({ length: random.int(1, 4) }, (__, index) =>
      orderOf(random, `s${seed}c${client}r${index}.`, { models, leaveRate, spread }),
    ),
  );
}

interface Crowd {
  readonly models: readonly string[];
  readonly leaveRate: number;
  readonly spread: Milliseconds;
}

function orderOf(random: Random, nonce: string, { models, leaveRate, spread }: Crowd): Order {
  const model = random.any(models) ?? '';
  const stream = random.chance(0.6);
  return {
    nonce,
    stream,
    model: random.chance(0.4) ? `${model}-alias` : model,
    pad: random.pick([0, 10, 2_000, 20_000]),
    pauseMs: random.chance(0.3) ? 0 : random.around(spread),
    leaving: leavingOf(random, leaveRate),
    how: random.pick(['close', 'half', 'reset']),
    readEveryMs: random.chance(0.2) ? random.pick([5, 200]) : 0,
    bodyPauseMs: random.chance(0.1) ? random.around(2_000) : 0,
  };
}

function leavingOf(random: Random, rate: number): Order['leaving'] {
  if (!random.chance(rate)) return { when: random.chance(0.1) ? 'done' : 'never' };
  if (random.chance(0.4)) return { when: 'bytes', count: random.pick([1, 300, random.int(1, 2_500)]) };
  return { when: 'after', ms: random.chance(0.2) ? 0 : random.around(random.pick([2, 200, 10_000])) };
}

function endsOf(random: Random): ShellPlan['ends'] {
  const ends = [];
  while (random.chance(0.35) && ends.length < 3) {
    const how = random.pick(['kill', 'drain'] as const);
    ends.push({ how, afterMs: random.around(random.pick([300, 5_000, 20_000])), gapMs: random.around(2 * SECOND) });
  }
  return ends;
}
