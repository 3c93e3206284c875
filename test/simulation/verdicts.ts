/** Whoever ends an engine, or has a model rest, must have seen why: kept in a count of its own, apart from the core's. */
import type { Decision, FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import { MINUTE, SECOND, type Milliseconds } from '../../src/units.ts';
import type { Kernel, Observer } from './kernel.ts';

/** As many bad looks without a good one between them end an engine. */
const STRIKES = 3;
const SHORTEST_REST: Milliseconds = SECOND;
const LONGEST_REST: Milliseconds = 5 * MINUTE;
const JITTER = 0.25;

/** What the looks at one engine have come to since it was last seen to be well. */
interface Looks {
  refused: number;
  silent: number;
  /** Since when it had work at every look and did none of it. */
  quietSince: Milliseconds | null;
}

type Checked = Extract<FleetEvent, { kind: 'replica.checked' }>;

export class Verdicts implements Observer {
  readonly #kernel: Kernel;
  readonly #looks = new Map<string, Looks>();
  #life = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void {
    if (quiet) return;
    const { life } = this.#kernel;
    if (this.#life !== life) this.#looks.clear();
    this.#life = life;
    if (event.kind === 'replica.checked') this.#looked(event);
    for (const effect of effects) if (effect.kind === 'decision') this.#decided(event, effect.decision);
  }

  #looked({ replica: { id }, report }: Checked): void {
    const { state, now } = this.#kernel;
    const looks = this.#looks.get(id) ?? { refused: 0, silent: 0, quietSince: null };
    this.#looks.set(id, looks);
    const moved = report.bytesMoved || report.countersMoved === true;
    const refused = report.health === 'refused' || report.health === 'unavailable';
    const silent = report.health === 'slow' && !moved;
    looks.refused = refused ? looks.refused + 1 : silent ? looks.refused : 0;
    looks.silent = silent ? looks.silent + 1 : refused ? looks.silent : 0;
    const idles = (state.replicas.get(id)?.leases.size ?? 0) > 0 && !moved;
    looks.quietSince = idles ? (looks.quietSince ?? now) : null;
  }

  #decided(event: FleetEvent, { kind, model: name, replica: id, detail }: Decision): void {
    const kernel: Kernel = this.#kernel;
    const { now } = kernel;
    const model = kernel.state.models.get(name ?? '');
    const looks = this.#looks.get(id ?? '');
    switch (kind) {
      case 'replica.unhealthy': {
        const bad = Math.max(looks?.refused ?? 0, looks?.silent ?? 0);
        return kernel.check('health', bad >= STRIKES, () => `${id} is ended after ${bad} bad looks`);
      }
      case 'replica.stalled': {
        const quiet = now - (looks?.quietSince ?? now);
        const limit = model?.settings.stallTimeout ?? 0;
        return kernel.check(
          'health',
          quiet >= limit,
          () => `${id} is ended after ${quiet} ms of ${limit} without work`,
        );
      }
      case 'replica.crashed': {
        const told = event.kind === 'replica.exited' || event.kind === 'lease.returned';
        return kernel.check('health', told, () => `${id} counts as dead on ${event.kind}`);
      }
      case 'replica.abandoned': {
        const alone = model?.queue.size === 0 && !model.loadRequested && !model.pinned && !model.settings.alwaysOn;
        return kernel.check('I-81', alone, () => `${id} is given up though somebody wants ${name}`);
      }
      case 'model.backing_off': {
        const rest = (model?.backoff.until ?? 0) - now;
        const due = Math.min(LONGEST_REST, SHORTEST_REST * 2 ** (Number(detail?.['failures']) - 1));
        const fine = rest >= due * (1 - JITTER) - 1 && rest <= due * (1 + JITTER) + 1;
        return kernel.check('I-31', fine, () => `${name} rests for ${rest} ms, not about ${due}`);
      }
      default:
    }
  }
}
