/**
 * `npm run bench -- core`: what one step of the core costs as the fleet grows, in µs of processor time. Arrival, grant and
 * release must not grow with the number of waiting tickets, nor with the number of models; that they do not is tested by
 * counting (`src/core/cost.test.ts`). Where figures grow here all the same, it is memory that is not in a cache.
 */
import { writeFileSync } from 'node:fs';
import type { FleetEvent } from '../../src/core/events.ts';
import { emptyFleet } from '../../src/core/fleet.ts';
import type { FleetState } from '../../src/core/state.ts';
import { step } from '../../src/core/step.ts';
import { GIB } from '../../src/units.ts';
import { calmScenario, settingsOf, simulatedDevice, simulatedModel } from '../../test/simulation/scenario.ts';
import { planIdle } from '../../src/core/memory/plan.ts';

const ROUNDS = 16_000;
const BATCHES = 8;
/** Of one plan, 200 models and 16 devices. */
const PLAN_LIMIT_MS = 5;
const PLANNED = 200;
const PLAN_ROUNDS = 20;
const KEYS = 50;

class Fleet {
  readonly state: FleetState;
  now = 0;
  #count = 0;
  /** Ids of leases, the oldest first: the first key of a map costs time in those that were deleted. */
  readonly #running: string[] = [];
  #ended = 0;

  constructor(models: number, shared: boolean, sharedDevices = 8) {
    const devices = Array.from({ length: shared ? sharedDevices : models }, (_, index) =>
      simulatedDevice(`gpu-${index}`, 80),
    );
    const all = devices.map(({ id }) => id);
    const settings = settingsOf(
      calmScenario({
        devices,
        models: Array.from({ length: models }, (_, index) => {
          const deviceIds = shared ? all : [`gpu-${index}`];
          return simulatedModel(`m${index}`, { maxQueueSize: 1_000_000, maxConcurrent: 50, deviceIds });
        }),
        limits: { maxInFlight: 150, maxTurn: 60_000, minResidency: 90_000, drainTimeout: 300_000 },
        ports: { first: 20_000, last: 29_999 },
      }),
    );
    this.state = emptyFleet(settings, 0);
  }

  do(event: FleetEvent): void {
    const effects = step(this.state, event, { now: this.now, random: Math.random });
    for (const effect of effects) {
      if (effect.kind === 'ticket.granted') this.#running.push(effect.id);
      if (effect.kind !== 'replica.launch') continue;
      const endpoint = { origin: `sim://${effect.replica.id}`, pathPrefix: '', pid: 1, container: null };
      this.do({ kind: 'replica.launched', replica: effect.replica, endpoint });
      this.do({ kind: 'replica.ready', replica: effect.replica });
    }
  }

  arrive(model: number): string {
    this.#count += 1;
    const id = `t${this.#count}`;
    this.do({
      kind: 'ticket.arrived',
      id,
      model: `m${model}`,
      keyId: `k${this.#count % KEYS}`,
      stream: true,
      patience: 60_000_000,
    });
    return id;
  }

  /** One that runs ends: its slot goes to the next in line. */
  release(): void {
    const id = this.#running[this.#ended];
    this.#ended += 1;
    if (id !== undefined) this.do({ kind: 'lease.released', id, outcome: 'completed' });
  }
}

interface Row {
  readonly of: string;
  readonly size: number;
  readonly us: Readonly<Record<string, number>>;
}

/** The best of some batches: what else the machine does is not the core's cost. */
function microseconds(rounds: number, act: (round: number) => void): number {
  let best = Infinity;
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const before = process.cpuUsage();
    for (let round = 0; round < rounds / BATCHES; round += 1) act(round);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (user + system) / (rounds / BATCHES));
  }
  return Number(best.toFixed(2));
}

function againstWaiting(waiting: number): Row {
  const fleet = new Fleet(1, false);
  for (let index = 0; index < waiting + 50; index += 1) fleet.arrive(0);
  const arriveAndLeave = microseconds(ROUNDS, () => fleet.do({ kind: 'ticket.abandoned', id: fleet.arrive(0) }));
  const releaseAndArrive = microseconds(ROUNDS, () => {
    fleet.release();
    fleet.arrive(0);
  });
  const us = { 'arrive, leave': arriveAndLeave, 'release, grant, arrive': releaseAndArrive };
  return { of: 'waiting tickets of one model', size: waiting, us };
}

function againstModels(models: number): Row {
  const fleet = new Fleet(models, false);
  for (let index = 0; index < models; index += 1) fleet.arrive(index);
  while (fleet.state.leases.size > 0) fleet.release();
  const one = microseconds(ROUNDS, () => {
    fleet.arrive(0);
    fleet.release();
  });
  const inTurn = microseconds(ROUNDS, (round) => {
    fleet.arrive(round % models);
    fleet.release();
  });
  return { of: 'models that run', size: models, us: { 'granted at once, one model': one, 'each in turn': inTurn } };
}

/** Waiting models on 16 full devices. */
function againstUnplaced(models: number): Row {
  const fleet = new Fleet(models + 16, true, 16);
  for (let index = 0; index < models + 16; index += 1) fleet.arrive(index);
  const unplaced = [...fleet.state.unplaced].flatMap((name) => fleet.state.models.get(name) ?? []);
  const plan = microseconds(1_600, (round) => {
    const model = unplaced[round % unplaced.length];
    if (model) planIdle(fleet.state, model, 0);
  });
  // Others' memory changes: every model without a place is planned anew.
  const again = microseconds(160, (round) => {
    const foreignBytes = (round % 2) * GIB;
    fleet.do({ kind: 'device.observed', id: 'gpu-0', totalBytes: 80 * GIB, usedBytes: foreignBytes, foreignBytes });
  });
  return {
    of: 'models that wait for a place',
    size: unplaced.length,
    us: { 'one plan': plan, 'all planned anew': again },
  };
}

/** One plan at a time, 200 models on 16 devices: the slowest of a hundred, in ms of processor time. */
function slowPlan(): number {
  const fleet = new Fleet(PLANNED + 16, true, 16);
  for (let index = 0; index < PLANNED + 16; index += 1) fleet.arrive(index);
  const times: number[] = [];
  for (let round = 0; round < PLAN_ROUNDS; round += 1) {
    for (const name of fleet.state.unplaced) {
      const model = fleet.state.models.get(name);
      if (!model) continue;
      const before = process.cpuUsage();
      planIdle(fleet.state, model, 0);
      const { user, system } = process.cpuUsage(before);
      times.push((user + system) / 1_000);
    }
  }
  return times.toSorted((one, other) => one - other)[Math.floor(times.length * 0.99)] ?? Infinity;
}

/** Prints growth curves. False when one plan takes longer than it may. */
export function coreCost({ json }: { readonly json?: string | undefined }): boolean {
  const rows: Row[] = [
    ...[1, 10, 100, 1_000, 10_000, 100_000].map(againstWaiting),
    ...[1, 10, 100, 1_000].map(againstModels),
    ...[10, 100, 200, 1_000].map(againstUnplaced),
  ];
  let heading = '';
  for (const { of, size, us } of rows) {
    if (of !== heading) console.log(`\n${of.padEnd(30)} ${Object.keys(us).join(' · ')} (µs)`);
    heading = of;
    console.log(`${String(size).padEnd(30)} ${Object.values(us).join(' · ')}`);
  }
  const planMs = slowPlan();
  console.log(`\none plan, 200 models, 16 devices, p99: ${planMs.toFixed(3)} ms (≤ ${PLAN_LIMIT_MS})`);
  if (json !== undefined)
    writeFileSync(json, `${JSON.stringify({ rows, plan_p99_ms: Number(planMs.toFixed(3)) }, null, 2)}\n`);
  return planMs <= PLAN_LIMIT_MS;
}
