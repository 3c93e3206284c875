/** A world and what happens in it, as plain data: any subset of the intents is again a valid scenario. */
import type { FleetSettings, ModelSettings } from '../../src/core/settings.ts';
import type { StartFailureCause } from '../../src/errors.ts';
import { GIB } from '../../src/units.ts';

export interface SimulatedDevice {
  readonly id: string;
  readonly totalBytes: number;
  readonly budgetBytes: number;
}

/** How its engine behaves, besides its settings. */
export interface SimulatedModel {
  readonly settings: Omit<ModelSettings, 'driver' | 'unstartable'>;
  /** From launch to ready. */
  readonly loadMs: number;
  /** Engines without token counters are judged by bytes alone. */
  readonly hasCounters: boolean;
}

export interface RequestIntent {
  readonly kind: 'request';
  readonly model: string;
  readonly key: string;
  /** Several at once. */
  readonly count: number;
  readonly workMs: number;
  readonly patience: number | null;
  /** The client goes away this long after it came, wherever its request is then. */
  readonly leavesAfter: number | null;
  /** Connection attempts that fail before one works. */
  readonly connectFailures: number;
}

export interface ClosedLoopIntent {
  readonly kind: 'closed_loop';
  readonly model: string;
  readonly clients: number;
  readonly workMs: number;
  readonly thinkMs: number;
  readonly lastsMs: number;
}

/** `dies`: soon after it was ready. */
export type StartFault = 'dies' | 'fails' | 'exits' | 'hangs' | 'crawls' | 'port_taken' | 'never_spawns';
export type StopFault = 'slow' | 'stuck';
export type ReloadChange =
  | 'spec'
  /** Another size on its devices. */
  | 'memory'
  /** max_turn, min_residency, drain_timeout. */
  | 'turns'
  | 'removed'
  | 'added'
  | 'limits'
  | 'max_in_flight'
  | 'always_on'
  | 'not_always_on'
  | 'unstartable'
  | 'startable';

export type Intent = { readonly at: number } & (
  | RequestIntent
  | ClosedLoopIntent
  | { readonly kind: 'load' | 'unload' | 'pin' | 'unpin'; readonly model: string }
  | { readonly kind: 'reload'; readonly model: string; readonly change: ReloadChange; readonly value: number }
  /** Of the next start of this model. */
  | {
      readonly kind: 'start_fault';
      readonly model: string;
      readonly fault: StartFault;
      readonly cause: StartFailureCause;
      /** Share of the load that is done by then. */
      readonly share: number;
    }
  /** Of the next stop of a replica of this model. */
  | { readonly kind: 'stop_fault'; readonly model: string; readonly fault: StopFault; readonly lastsMs: number }
  | { readonly kind: 'crash' | 'hang' | 'sick' | 'slow_health'; readonly model: string }
  | { readonly kind: 'foreign'; readonly device: string; readonly share: number }
  /** A late word about a replica that is another one by now. */
  | { readonly kind: 'stale'; readonly model: string }
  /** The gateway dies and comes back, with the configuration of one model changed meanwhile: engines live on. */
  | { readonly kind: 'killed'; readonly adoptable: boolean; readonly changed?: string }
);

export interface Scenario {
  readonly name: string;
  readonly seed: number;
  readonly devices: readonly SimulatedDevice[];
  readonly models: readonly SimulatedModel[];
  readonly limits: FleetSettings['limits'];
  readonly attempts: number;
  readonly ports: { readonly first: number; readonly last: number };
  /** Timers of the shell come up to this much late. */
  readonly timerLagMs: number;
  /** Every effect takes up to this long. */
  readonly latencyMs: number;
  /** Faults and load until here; then all faults end and everything must come right. */
  readonly safetyMs: number;
  /** What the last shutdown does with engines. */
  readonly keepAtEnd: boolean;
  readonly intents: readonly Intent[];
}

const MODEL: SimulatedModel['settings'] = {
  name: 'm',
  specHash: 'm#0',
  maxQueueSize: 200,
  maxConcurrent: 50,
  queueTimeout: 540_000,
  inactivityTimeout: 1_800_000,
  alwaysOn: false,
  preload: false,
  startTimeout: 3_900_000,
  startStallTimeout: 600_000,
  stopTimeout: 30_000,
  stallTimeout: 120_000,
  deviceCount: 1,
  deviceIds: ['gpu-0'],
  memory: null,
  needsPort: true,
};

/** A model with the built-in defaults, but for what is said. */
export function simulatedModel(
  name: string,
  over: Partial<SimulatedModel['settings']> = {},
  engine: Partial<Omit<SimulatedModel, 'settings'>> = {},
): SimulatedModel {
  return { settings: { ...MODEL, name, specHash: `${name}#0`, ...over }, loadMs: 20_000, hasCounters: true, ...engine };
}

export function simulatedDevice(id: string, gib: number, budgetFraction = 0.9): SimulatedDevice {
  return { id, totalBytes: gib * GIB, budgetBytes: Math.floor(gib * budgetFraction * GIB) };
}

/** A calm world with the built-in limits, for tests that say what happens in it. */
export function calmScenario(over: Partial<Scenario>): Scenario {
  return {
    name: 'calm',
    seed: 1,
    devices: [simulatedDevice('gpu-0', 24)],
    models: [simulatedModel('m')],
    limits: { maxInFlight: 150, maxTurn: 60_000, minResidency: 90_000, drainTimeout: 300_000 },
    attempts: 3,
    ports: { first: 20_000, last: 29_999 },
    timerLagMs: 0,
    latencyMs: 5,
    safetyMs: 600_000,
    keepAtEnd: false,
    intents: [],
    ...over,
  };
}

export function settingsOf(scenario: Scenario): FleetSettings {
  return {
    version: 1,
    limits: scenario.limits,
    retry: { attempts: scenario.attempts },
    ports: scenario.ports,
    devices: scenario.devices.map((device) => ({ ...device, pool: null, uuid: null })),
    models: new Map(
      scenario.models.map(({ settings }) => [settings.name, { ...settings, driver: 'simulated', unstartable: null }]),
    ),
  };
}
