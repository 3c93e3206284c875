/**
 * `npx tsx test/simulation/core-cost.ts`: what one step of the core costs as the fleet grows, in µs. Arrival, grant and
 * release must not grow with the number of waiting tickets, nor with the number of models.
 */
import type { FleetEvent } from '../../src/core/events.ts';
import { emptyFleet } from '../../src/core/fleet.ts';
import type { FleetState } from '../../src/core/state.ts';
import { step } from '../../src/core/step.ts';
import { GIB } from '../../src/units.ts';
import { calmScenario, settingsOf, simulatedDevice, simulatedModel } from './scenario.ts';

const ROUNDS = 16_000;
const KEYS = 50;

class Fleet {
  readonly state: FleetState;
  now = 0;
  #count = 0;

  constructor(models: number, shared: boolean) {
    const devices = Array.from({ length: shared ? 8 : models }, (_, index) => simulatedDevice(`gpu-${index}`, 80));
    const settings = settingsOf(
      calmScenario({
        devices,
        models: Array.from({ length: models }, (_, index) => {
          const deviceIds = shared ? devices.map((device) => device.id) : [`gpu-${index}`];
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
    const [id] = this.state.leases.keys();
    if (id !== undefined) this.do({ kind: 'lease.released', id, outcome: 'completed' });
  }
}

/** The best of some batches: what else the machine does is not the core's cost. */
function microseconds(rounds: number, act: (round: number) => void): string {
  const batches = 8;
  let best = Infinity;
  for (let batch = 0; batch < batches; batch += 1) {
    const started = performance.now();
    for (let round = 0; round < rounds / batches; round += 1) act(round);
    best = Math.min(best, (performance.now() - started) / (rounds / batches));
  }
  return (best * 1_000).toFixed(2).padStart(9);
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

function againstWaiting(): void {
  print('waiting      arrive   release   abandon  (one ready model, its slots in use)');
  for (const waiting of [1, 10, 100, 1_000, 10_000, 100_000]) {
    const fleet = new Fleet(1, false);
    for (let index = 0; index < waiting + 50; index += 1) fleet.arrive(0);
    const arrive = microseconds(ROUNDS, () => {
      const id = fleet.arrive(0);
      fleet.do({ kind: 'ticket.abandoned', id });
    });
    const release = microseconds(ROUNDS, () => {
      fleet.release();
      fleet.arrive(0);
    });
    const abandon = microseconds(ROUNDS, () => {
      const [first] = fleet.state.tickets.keys();
      if (first !== undefined) fleet.do({ kind: 'ticket.abandoned', id: first });
      fleet.arrive(0);
    });
    print(`${String(waiting).padEnd(8)} ${arrive} ${release} ${abandon}`);
  }
}

function againstModels(): void {
  print('models       hot path    release    first request (cold, shared devices)    look again at all that wait');
  for (const models of [1, 10, 100, 1_000]) {
    const fleet = new Fleet(models, false);
    for (let index = 0; index < models; index += 1) fleet.arrive(index);
    while (fleet.state.leases.size > 0) fleet.release();
    // Granted at once, and released.
    const hot = microseconds(ROUNDS, (round) => {
      fleet.arrive(round % models);
      fleet.release();
    });
    for (let index = 0; index < models + 300; index += 1) fleet.arrive(index % models);
    const release = microseconds(ROUNDS, (round) => {
      fleet.release();
      fleet.arrive(round % models);
    });
    const shared = new Fleet(models, true);
    for (let index = 0; index < Math.min(8, models); index += 1) shared.arrive(index);
    const started = performance.now();
    for (let index = 8; index < models; index += 1) shared.arrive(index);
    const cold = (((performance.now() - started) / Math.max(1, models - 8)) * 1_000).toFixed(2).padStart(9);
    // Others' memory changes: every model without a place is planned anew.
    const again = microseconds(160, (round) => {
      shared.do({
        kind: 'device.observed',
        id: 'gpu-0',
        totalBytes: 80 * GIB,
        usedBytes: (round % 2) * GIB,
        foreignBytes: (round % 2) * GIB,
      });
    });
    print(`${String(models).padEnd(8)} ${hot}   ${release}     ${cold}                               ${again}`);
  }
}

againstWaiting();
print('');
againstModels();
