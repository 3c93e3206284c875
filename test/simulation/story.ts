/** For tests that say what happens in a simulated world: short ways to ask, to wait, and to look. */
import type { FleetEffect } from '../../src/core/effects.ts';
import { currentOf } from '../../src/core/run.ts';
import type { Replica } from '../../src/core/state.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { Answer, Ask } from './clients.ts';
import type { KernelOptions } from './kernel.ts';
import { calmScenario, type Intent, type Scenario } from './scenario.ts';
import { World } from './world.ts';

export interface Told {
  readonly at: Milliseconds;
  readonly effect: FleetEffect;
}

type Unscheduled<T> = T extends unknown ? Omit<T, 'at'> : never;

export class Story {
  readonly world: World;
  /** Every effect so far. */
  readonly told: Told[] = [];
  readonly answers: { readonly id: string; readonly model: string; readonly answer: Answer }[] = [];

  constructor(over: Partial<Scenario>, options: Partial<KernelOptions> = {}) {
    this.world = new World(calmScenario(over), options);
    this.world.kernel.observers.push({
      after: (_event, effects) => {
        for (const effect of effects) this.told.push({ at: this.now, effect });
      },
    });
    this.world.clients.answered = (id, model, answer) => this.answers.push({ id, model, answer });
    this.world.boot();
  }

  get now(): Milliseconds {
    return this.world.kernel.now;
  }

  get state(): World['kernel']['state'] {
    return this.world.kernel.state;
  }

  ask(model: string, count = 1, over: Partial<Ask> = {}): string[] {
    const rest = { key: 'anonymous', workMs: 1_000, patience: null, leavesAfter: null, connectFailures: 0 };
    return Array.from({ length: count }, () => this.world.clients.ask({ model, ...rest, ...over }));
  }

  act(intent: Unscheduled<Intent>): void {
    this.world.act({ at: this.now, ...intent });
  }

  run(span: Milliseconds): void {
    this.world.kernel.runTo(this.now + span);
  }

  /** Goes on until this holds; fails when it does not within the span. */
  until(what: string, holds: () => boolean, within: Milliseconds = 600_000): void {
    this.world.kernel.runTo(this.now + within, holds);
    this.world.kernel.check('story', holds(), () => `${what} did not happen within ${within} ms`);
  }

  current(model: string): Replica | undefined {
    const known = this.state.models.get(model);
    return known && currentOf(this.state, known);
  }

  phase(model: string): Replica['phase'] | 'none' {
    return this.current(model)?.phase ?? 'none';
  }

  untilReady(model: string, within?: Milliseconds): void {
    this.until(`${model} ready`, () => this.phase(model) === 'ready', within);
  }

  untilAnswered(count: number, within?: Milliseconds): void {
    this.until(`${count} answers`, () => this.answers.length >= count, within);
  }

  /** How many answers there are of each kind, or code where there is an error. */
  tally(model?: string): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { model: of, answer } of this.answers) {
      if (model !== undefined && of !== model) continue;
      const name = answer.error?.code ?? answer.kind;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  errors(): NonNullable<Answer['error']>[] {
    return this.answers.flatMap(({ answer }) => (answer.error ? [answer.error] : []));
  }

  effects<K extends FleetEffect['kind']>(
    kind: K,
  ): (Extract<FleetEffect, { kind: K }> & { readonly at: Milliseconds })[] {
    return this.told.flatMap(({ at, effect }) =>
      effect.kind === kind ? [{ ...(effect as Extract<FleetEffect, { kind: K }>), at }] : [],
    );
  }

  starts(model: string): number {
    return this.effects('replica.launch').filter((launch) => launch.model === model).length;
  }

  stops(model: string): string[] {
    return this.effects('replica.stop').flatMap((stop) => (stop.model === model ? [stop.reason] : []));
  }

  decisions(kind: string): (Extract<FleetEffect, { kind: 'decision' }>['decision'] & { readonly at: Milliseconds })[] {
    return this.effects('decision').flatMap(({ decision, at }) =>
      decision.kind === kind ? [{ ...decision, at }] : [],
    );
  }
}
