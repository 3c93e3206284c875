/** Metadata, images and weights: what preparations fetch, with everything that goes wrong with downloads. */
import type { StartFailureCause } from '../../src/errors.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { Kernel } from './kernel.ts';
import { Random } from './random.ts';
import type { PrepareFault, Scenario, SimulatedModel } from './scenario.ts';

interface Order {
  readonly fault: PrepareFault;
  readonly cause: StartFailureCause;
}

interface Fetch {
  readonly model: string;
  readonly life: number;
  over: boolean;
  /** Told while the gateway stood still. */
  readonly told: FleetEvent[];
}

const STEPS = 4;
const SLOW_STEP: Milliseconds = 5_000;

export class Files {
  faults = true;
  readonly #kernel: Kernel;
  readonly #latencyMs: Milliseconds;
  readonly #random: Random;
  readonly #models: ReadonlyMap<string, SimulatedModel>;
  readonly #running = new Map<string, Fetch>();
  readonly #orders = new Map<string, Order[]>();
  /** Fetches that ended while the gateway stood still: it may give up what it has not heard the end of. */
  readonly #unheard = new Map<string, Fetch>();
  /** Spec hashes of what was fetched once. */
  readonly #cached = new Set<string>();

  constructor(kernel: Kernel, scenario: Scenario) {
    this.#kernel = kernel;
    this.#latencyMs = scenario.latencyMs;
    this.#random = new Random(scenario.seed, 'files');
    this.#models = new Map(scenario.models.map((model) => [model.settings.name, model]));
  }

  order(model: string, order: Order): void {
    this.#orders.set(model, [...(this.#orders.get(model) ?? []), order]);
  }

  gatewayDied(): void {
    this.#running.clear();
    this.#unheard.clear();
  }

  isFetching(model: string): boolean {
    return this.#running.has(model);
  }

  prepare(name: string): void {
    this.#kernel.check('prepare', !this.#running.has(name), () => `the files of ${name} are fetched twice at a time`);
    const fetch: Fetch = { model: name, life: this.#kernel.life, over: false, told: [] };
    this.#running.set(name, fetch);
    this.#unheard.delete(name);
    const model = this.#models.get(name);
    const spec = this.#spec(name);
    const order = this.faults ? this.#orders.get(name)?.shift() : undefined;
    const size = model?.size ?? null;
    if (size) this.#later(fetch, this.#latency(), () => this.#tell(fetch, { kind: 'model.sized', model: name, size }));
    const span = this.#cached.has(spec) ? this.#latency() : this.#latency() + (model?.prepareMs ?? 0);
    if (order) return this.#fail(fetch, order, span);
    for (let step = 1; step < STEPS && span > 1_000; step += 1) {
      this.#later(fetch, (span * step) / STEPS, () => this.#progress(fetch, step / STEPS));
    }
    // After the size: the answers of one preparation come in the order in which it finds them out.
    this.#later(fetch, Math.max(span, this.#latencyMs + 1), () => {
      this.#end(fetch);
      this.#cached.add(spec);
      this.#tell(fetch, { kind: 'model.prepared', model: name, image: null });
    });
  }

  cancel(name: string): void {
    const fetch = this.#running.get(name) ?? this.#unheard.get(name);
    if (!fetch) return this.#kernel.fail('prepare', `the files of ${name} are not being fetched, and that is ended`);
    this.#end(fetch);
    this.#unheard.delete(name);
    this.#kernel.withdraw(fetch.told);
  }

  #fail(fetch: Fetch, { fault, cause }: Order, span: Milliseconds): void {
    switch (fault) {
      case 'hangs':
        return;
      case 'slow': {
        const crawl = (): void => {
          this.#progress(fetch, 0.5);
          this.#later(fetch, SLOW_STEP, crawl);
        };
        this.#later(fetch, SLOW_STEP, crawl);
        return;
      }
      case 'fails':
        this.#later(fetch, span, () => {
          this.#end(fetch);
          const message = 'its files are not to be had.';
          this.#tell(fetch, { kind: 'model.prepare_failed', model: fetch.model, cause, message });
        });
    }
  }

  #spec(name: string): string {
    return this.#kernel.state.models.get(name)?.settings.specHash ?? name;
  }

  #progress(fetch: Fetch, fraction: number): void {
    this.#tell(fetch, { kind: 'model.prepare_progressed', model: fetch.model, phase: 'weights', fraction });
  }

  #end(fetch: Fetch): void {
    fetch.over = true;
    if (this.#running.get(fetch.model) !== fetch) return;
    this.#running.delete(fetch.model);
    if (this.#kernel.frozen) this.#unheard.set(fetch.model, fetch);
  }

  #tell(fetch: Fetch, event: FleetEvent): void {
    if (this.#kernel.frozen) fetch.told.push(event);
    this.#kernel.step(event);
  }

  #later(fetch: Fetch, delay: Milliseconds, act: () => void): void {
    this.#kernel.after(delay, () => {
      if (!fetch.over && fetch.life === this.#kernel.life) act();
    });
  }

  #latency(): Milliseconds {
    return this.#random.int(0, this.#latencyMs);
  }
}
