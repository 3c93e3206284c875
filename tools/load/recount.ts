/** Every second: what the gateway's gauges, its status and the load itself say is waiting and running must be one number. */
import { setImmediate as turn } from 'node:timers/promises';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { type GatewayUnderLoad, sumOf } from './gateway-under-load.ts';
import { type Generator, pause } from './generator.ts';

const TRIES = 40;
const SECOND_MS = 1_000;
/** Before each try: what is on its way gets there. Longer than it takes to connect and to send. */
const SETTLE_MS = 12;
/** A difference that is seen so often in one second, and last, is one. */
const ENOUGH = 3;

export interface Recounted {
  seconds: number;
  /** One for each second and model. */
  due: number;
  /** Of these, done: the model was at rest long enough to be compared. */
  compared: number;
  /** Seconds and model, with the numbers that differed. */
  readonly differences: string[];
  /** Broken within one single snapshot. */
  readonly broken: string[];
  /** Greatest number seen waiting. */
  mostQueued: number;
  readonly rss: number[];
}

export class Recount {
  readonly found: Recounted = { seconds: 0, due: 0, compared: 0, differences: [], broken: [], mostQueued: 0, rss: [] };
  private readonly gateway: GatewayUnderLoad;
  private readonly generator: Generator;
  private readonly slots: number;

  constructor(gateway: GatewayUnderLoad, generator: Generator, slots: number) {
    this.gateway = gateway;
    this.generator = generator;
    this.slots = slots;
  }

  /** Until `over` resolves. */
  async during(over: Promise<unknown>): Promise<void> {
    const state = { over: false };
    const end = (): void => void (state.over = true);
    over.then(end, end);
    for (let due = performance.now() + SECOND_MS; !state.over; due += SECOND_MS) {
      while (!state.over && performance.now() < due) await pause(Math.min(50, Math.max(1, due - performance.now())));
      if (state.over) return;
      due = Math.max(due, performance.now() - SECOND_MS);
      this.found.rss.push(this.gateway.rss());
      await this.second(() => state.over);
    }
  }

  private async second(over: () => boolean): Promise<void> {
    const endsAt = performance.now() + SECOND_MS;
    const open = new Set(this.generator.underWay.keys());
    const differences = new Map<string, string[]>();
    for (let times = 0; times < TRIES && open.size > 0 && performance.now() < endsAt; times += 1) {
      for (const [model, difference] of await this.compare(open)) {
        if (difference === null) open.delete(model);
        else differences.set(model, [...(differences.get(model) ?? []), difference]);
      }
    }
    if (over()) return;
    this.found.seconds += 1;
    this.found.due += this.generator.underWay.size;
    this.found.compared += this.generator.underWay.size;
    for (const model of open) {
      const seen = differences.get(model) ?? [];
      if (seen.length < ENOUGH) this.found.compared -= 1;
      else this.found.differences.push(`second ${this.found.seconds}, ${model}: ${seen.at(-1) ?? ''}`);
    }
  }

  /** For the models that nothing happened to between two looks: null = all agree, else what differed. */
  private async compare(models: ReadonlySet<string>): Promise<Map<string, string | null>> {
    const { underWay, unproven, changes } = this.generator;
    const changesBefore = new Map(changes);
    await pause(SETTLE_MS);
    const before = this.checked(await this.gateway.status());
    const samples = await this.gateway.metrics();
    const after = this.checked(await this.gateway.status());
    // Whatever lies in a socket here is read first.
    await turn();
    await turn();
    const found = new Map<string, string | null>();
    for (const model of models) {
      const one = before.models[model];
      const two = after.models[model];
      if (one === undefined || two === undefined) continue;
      if (changesBefore.get(model) !== changes.get(model)) continue;
      if (one.queued !== two.queued || one.in_flight !== two.in_flight) continue;
      const gauges = [sumOf(samples, 'queue_depth', { model }), sumOf(samples, 'in_flight', { model })];
      const sent = underWay.get(model) ?? 0;
      const inside = sent - (unproven.get(model) ?? 0);
      const total = one.queued + one.in_flight;
      const agree = gauges[0] === one.queued && gauges[1] === one.in_flight && inside <= total && total <= sent;
      found.set(
        model,
        agree
          ? null
          : `status ${one.queued} + ${one.in_flight}, metrics ${gauges.join(' + ')}, the load knows of ${inside} to ${sent}`,
      );
    }
    return found;
  }

  private checked(status: StatusAnswer): StatusAnswer {
    for (const [name, model] of Object.entries(status.models)) {
      this.found.mostQueued = Math.max(this.found.mostQueued, model.queued);
      const leases = Object.values(status.replicas)
        .filter((replica) => replica.model === name)
        .reduce((sum, replica) => sum + replica.leases, 0);
      if (leases !== model.in_flight) this.found.broken.push(`${name}: ${leases} leases, ${model.in_flight} in flight`);
      if (Object.values(status.replicas).some((replica) => replica.leases > this.slots))
        this.found.broken.push(`${name}: more leases than slots`);
      const original = status.queue_status[name]?.queue_depth;
      if (original !== undefined && original !== model.queued)
        this.found.broken.push(`${name}: two depths of one queue`);
    }
    return status;
  }
}
