import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  createScriptedFleet,
  fleetSettings,
  modelSettings,
  type ScriptedFleet,
} from '../../test/support/scripted-fleet.ts';
import { readProgress } from '../engines/vllm/progress.ts';
import { SECOND, type Milliseconds } from '../units.ts';

interface RecordedLine {
  readonly at: Milliseconds;
  readonly line: string;
}

/** A start of vLLM as it was recorded: each line with the seconds since its launch, up to the open port. */
const RECORDING = readFileSync(
  new URL('../../test/fixtures/vllm/logs/start-to-first-request.txt', import.meta.url),
  'utf8',
).split('\n');
const RECORDED: readonly RecordedLine[] = RECORDING.slice(
  0,
  RECORDING.findIndex((text) => text.includes('startup complete')) + 1,
).flatMap((text) => {
  const match = /^\[\s*([\d.]+)\] (.*)$/.exec(text);
  return match ? [{ at: Number(match[1]) * SECOND, line: match[2] ?? '' }] : [];
});

const LASTED = RECORDED.at(-1)?.at ?? 0;

interface Seen {
  readonly at: Milliseconds;
  readonly phase: string | null;
  readonly eta: Milliseconds | null;
}

class Rerun {
  readonly fleet: ScriptedFleet;
  #lines: string[] = [];
  #wake: () => void = () => undefined;

  constructor(fleet: ScriptedFleet) {
    this.fleet = fleet;
    const next = (): Promise<void> =>
      new Promise((resolve) => {
        this.#wake = resolve;
      });
    const take = (): string | undefined => this.#lines.shift();
    fleet.driver.logs = async function* () {
      for (;;) {
        for (let line = take(); line !== undefined; line = take()) yield line;
        await next();
      }
    };
  }

  /** Launches, tells the lines at their times, `pace` times as slowly, and is ready with the last one. */
  async start(pace: number): Promise<readonly Seen[]> {
    const { controller, platform } = this.fleet;
    platform.http.answer = () => ({ status: 503, body: '' });
    controller.post({ kind: 'model.load', model: 'a' });
    await this.fleet.flush();
    const begun = controller.now;
    const seen: Seen[] = [];
    for (const { at, line } of RECORDED) {
      // Between two lines too, as people look whenever they like.
      for (let left = begun + at * pace - controller.now; left > 0; left = begun + at * pace - controller.now) {
        platform.clock.advance(Math.min(left, 5 * SECOND));
        await this.fleet.flush();
        seen.push(this.#look(begun));
      }
      this.#lines.push(line);
      this.#wake();
      await this.fleet.flush();
      seen.push(this.#look(begun));
    }
    this.fleet.engineAnswers();
    platform.clock.advance(SECOND / 4);
    await this.fleet.flush();
    expect(controller.modelState('a')).toBe('ready');
    controller.post({ kind: 'model.unload', model: 'a', reason: 'unload' });
    await this.fleet.flush();
    expect(controller.modelState('a')).toBe('cold');
    return seen;
  }

  #look(begun: Milliseconds): Seen {
    const { controller } = this.fleet;
    const [replica] = controller.snapshot().replicas.values();
    return { at: controller.now - begun, phase: replica?.phase ?? null, eta: replica?.eta ?? null };
  }
}

const rerun = (): Rerun =>
  new Rerun(createScriptedFleet(fleetSettings([modelSettings('a')]), { runtime: { readProgress } }));

describe('when a start will be over', () => {
  it('is known from the second one on: a recorded start of vLLM, run again, is foretold to the second', async () => {
    const engine = rerun();
    const first = await engine.start(1);
    expect(new Set(first.map(({ phase }) => phase))).toEqual(
      new Set(['launched', 'config', 'engine', 'load', 'kv', 'serve']),
    );
    // Nobody knows it: a guess would be a lie.
    expect(first.every(({ eta }) => eta === null)).toBe(true);
    expect(engine.fleet.startTimes).toHaveLength(1);
    const second = await engine.start(1);
    for (const { at, eta } of second) {
      expect(eta, `after ${at} ms`).not.toBeNull();
      expect(Math.abs(at + (eta ?? 0) - LASTED), `after ${at} ms`).toBeLessThanOrEqual(SECOND);
    }
  });

  it('moves away while a start is slower than ever, and is nobody’s to say once it is late by a whole one', async () => {
    const engine = rerun();
    await engine.start(1);
    const slow = await engine.start(1.5);
    for (const { at, eta } of slow) {
      expect(eta, `after ${at} ms`).not.toBeNull();
      // What is left of a phase that is late is taken to be as much as it is late: never zero before the end is near.
      if (1.5 * LASTED - at > 10 * SECOND) expect(eta, `after ${at} ms`).toBeGreaterThan(0);
    }
    const dying = rerun();
    await dying.start(1);
    const { controller, platform } = dying.fleet;
    platform.http.answer = () => ({ status: 503, body: '' });
    controller.post({ kind: 'model.load', model: 'a' });
    await dying.fleet.flush();
    const etas: (Milliseconds | null)[] = [];
    for (let waited = 0; waited <= 3 * LASTED; waited += 5 * SECOND) {
      etas.push([...controller.snapshot().replicas.values()][0]?.eta ?? null);
      platform.clock.advance(5 * SECOND);
      await dying.fleet.flush();
    }
    const gone = etas.indexOf(null);
    expect(gone * 5 * SECOND).toBeGreaterThan(LASTED);
    expect(etas.slice(gone).every((eta) => eta === null)).toBe(true);
  });

  it('comes nearer to what starts take now: the newest counts most', async () => {
    const engine = rerun();
    for (const pace of [1, 0.2, 0.2, 0.2]) await engine.start(pace);
    const totals = engine.fleet.startTimes.map(({ phases }) => phases.reduce((sum, { lasted }) => sum + lasted, 0));
    expect(totals[1]).toBeLessThan(0.5 * LASTED);
    expect(totals[3]).toBeLessThan(0.25 * LASTED);
  });
});
