/** One whole run: trouble, then healing, then everything must come right in bounded time, then the end. */
import { MINUTE, SECOND, type Milliseconds } from '../../src/units.ts';
import { SimulationFailure } from './kernel.ts';
import { couldFit } from './refusals.ts';
import type { Scenario } from './scenario.ts';
import { World } from './world.ts';

export interface Outcome {
  readonly failure: SimulationFailure | null;
  readonly events: number;
  readonly hash: string;
  readonly virtualMs: Milliseconds;
  readonly marks: ReadonlyMap<string, number>;
}

export interface RunOptions {
  readonly trace?: (line: string) => void;
  /** Full recounts so many events apart; as the scenario says when absent. */
  readonly checkEvery?: number;
}

export function runScenario(scenario: Scenario, options: RunOptions = {}): Outcome {
  const world = new World(scenario, { checkEvery: scenario.recountEvery ?? 1, ...options });
  let failure: SimulationFailure | null = null;
  try {
    world.boot();
    world.schedule(scenario.intents);
    world.kernel.runTo(scenario.safetyMs);
    world.kernel.recount();
    world.heal();
    comesRight(world);
    world.kernel.recount();
    ends(world);
    world.kernel.recount();
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    failure = error;
  }
  const { kernel, history } = world;
  return { failure, events: kernel.events, hash: kernel.trace.hash(), virtualMs: kernel.now, marks: history.marks };
}

/** Longest time that anything may legally take once nothing breaks any more. */
function patienceOf(scenario: Scenario): Milliseconds {
  const { maxTurn, minResidency, drainTimeout } = scenario.limits;
  let slowest = 0;
  for (const { settings, loadMs, prepareMs } of scenario.models) {
    const start = 2 * settings.startTimeout + loadMs + prepareMs;
    slowest = Math.max(slowest, start + settings.stopTimeout + settings.stallTimeout);
  }
  const swap = Math.max(maxTurn, minResidency) + drainTimeout + slowest + 10 * SECOND;
  // The rest after failures is five minutes at most, a quarter more by its jitter; stuck ones take two.
  return (scenario.models.length + 1) * swap + 10 * MINUTE;
}

function comesRight(world: World): void {
  const { kernel, clients, scenario } = world;
  const bound = patienceOf(scenario);
  const queueTimeout = Math.max(...scenario.models.map(({ settings }) => settings.queueTimeout), 540_000);
  kernel.runTo(kernel.now + bound + queueTimeout, () => clients.open === 0 && noZombies(world));
  const { tickets, leases } = kernel.state;
  kernel.check('liveness', clients.open === 0, () => `${tickets.size} tickets and ${leases.size} leases have no end`);
  kernel.check('liveness', noZombies(world), () => 'a replica is still stuck');
  for (const model of [...kernel.state.models.values()]) {
    if (model.pinned) kernel.step({ kind: 'model.pin', model: model.name, pinned: false });
  }
  everyModelAnswers(world, bound);
  alwaysOnIsReady(world, bound);
}

/** More than any turn in these worlds. */
const LONG_QUEUE = 9 * MINUTE;
const BUSY = { clients: 2, workMs: 500, thinkMs: 700 } as const;

const noZombies = (world: World): boolean =>
  [...world.kernel.state.replicas.values()].every((replica) => replica.phase !== 'zombie');

/** One request to each, asked again as long as the answer says that this may help. */
function everyModelAnswers(world: World, bound: Milliseconds): void {
  const { kernel, clients, scenario } = world;
  const open = new Set([...kernel.state.models.keys()]);
  const ask = (model: string): void => {
    const rest = { key: 'probe', workMs: 200, patience: null, leavesAfter: null, connectFailures: 0 };
    clients.ask({ model, ...rest }, ({ kind, error }) => {
      if (kind === 'completed' || error?.shouldRetry === false || !mayEverRun(world, model)) open.delete(model);
      else kernel.after(error?.retryAfterMs ?? SECOND, () => ask(model));
    });
  };
  // In some worlds others keep every model busy meanwhile: turns must be taken for anybody to be answered.
  const busy = scenario.seed % 4 === 0 && scenario.limits.maxTurn > 0 && kernel.state.settings.limits.maxTurn > 0;
  if (busy) {
    for (const model of open) clients.closedLoop({ ...BUSY, model, lastsMs: bound, stop: () => open.size === 0 });
  }
  for (const model of open) ask(model);
  for (const model of kernel.state.models.values()) {
    // Who goes away before a turn is over cannot wait for one.
    if (busy && model.settings.queueTimeout < LONG_QUEUE) open.delete(model.name);
  }
  kernel.runTo(kernel.now + bound, () => open.size === 0);
  kernel.check('liveness', open.size === 0, () => `no answer from ${[...open].join(', ')}`);
}

/** Those that stay may leave no room; then a clear answer is all that can be asked for. */
function mayEverRun(world: World, name: string): boolean {
  const { state } = world.kernel;
  const model = state.models.get(name);
  if (!model || model.settings.unstartable) return false;
  if (state.settings.limits.maxTurn === 0 && model.settings.alwaysOn) return false;
  const { first, last } = world.scenario.ports;
  if (model.settings.needsPort && last - first < 2 * world.scenario.models.length) return false;
  // Nobody can know that it takes more than it says, before it is up.
  const truth = world.scenario.models.find(({ settings }) => settings.name === name)?.truth;
  if (truth && Math.max(truth.steady, truth.peak) > 1) return false;
  return couldFit(state, model);
}

function alwaysOnIsReady(world: World, bound: Milliseconds): void {
  const { kernel } = world;
  const missing = (): string[] => {
    const { state } = kernel;
    return [...state.models.values()]
      .filter((model) => model.settings.alwaysOn && mayEverRun(world, model.name))
      .filter((model) => state.replicas.get(model.current ?? '')?.phase !== 'ready')
      .map((model) => model.name);
  };
  kernel.runTo(kernel.now + bound, () => missing().length === 0);
  kernel.check('liveness', missing().length === 0, () => `always_on and not ready: ${missing().join(', ')}`);
}

function ends(world: World): void {
  const { kernel, clients, engines, history, scenario } = world;
  // The shell tells of the shutdown once it has entered what an earlier run left.
  kernel.runTo(kernel.now + MINUTE, () => !kernel.state.adopting);
  kernel.check('liveness', !kernel.state.adopting, () => 'what an earlier run left is still looked for');
  const begun = kernel.now;
  for (const { settings } of scenario.models) {
    if (!kernel.state.models.has(settings.name)) continue;
    const rest = { model: settings.name, key: 'last', patience: null, leavesAfter: null, connectFailures: 0 };
    clients.ask({ ...rest, workMs: 2_000 });
    clients.ask({ ...rest, workMs: 100_000 });
  }
  kernel.runTo(kernel.now + SECOND);
  const limit = 30 * SECOND;
  kernel.step({ kind: 'shutdown.begun', keep: scenario.keepAtEnd ? ['simulated'] : [], deadline: kernel.now + limit });
  const stops = Math.max(...scenario.models.map(({ settings }) => settings.stopTimeout)) + 10 * SECOND;
  kernel.runTo(begun + limit + 2 * stops + 10 * SECOND, () => world.shutdownDone);
  kernel.check('I-86', world.shutdownDone, () => 'the shutdown does not end');
  history.finish();
  const { tickets, leases, deadlines, devices } = kernel.state;
  kernel.check('I-24', tickets.size + leases.size === 0, () => 'work is left');
  if (!scenario.keepAtEnd) {
    const stuck = [...kernel.state.replicas.keys()];
    const left = engines.living().filter((engine) => !stuck.includes(engine.ref.id));
    kernel.check('I-87', left.length === 0, () => `${left.length} engines are left`);
    // The rest of a model that failed may be left: whoever asks is told that the gateway shuts down.
    const armed = [...deadlines.keys()].filter((key) => !key.startsWith('backoff:'));
    kernel.check('I-24', armed.length === 0, () => `deadlines are left: ${armed.join(', ')}`);
    for (const { id } of devices.values()) {
      kernel.check('I-41', stuck.length > 0 || engines.memory.used(id) === 0, () => `${id} is in use`);
    }
  }
}
