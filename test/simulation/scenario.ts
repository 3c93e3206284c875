/** A world and what happens in it, as plain data: any subset of the intents is again a valid scenario. */
import type { ModelSize } from '../../src/core/memory/model-shape.ts';
import type { MemoryRules, SizingSettings } from '../../src/core/memory/sizing.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from '../../src/core/settings.ts';
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
  /** It tells when it begins to load and when it has measured; those that do not, measure nothing. */
  readonly milestones: boolean;
  /** What it really takes, as a share of what was promised: once ready, and at most before. */
  readonly truth: { readonly steady: number; readonly peak: number };
  /** What somebody sees of it once it is ready: nothing, its bytes, or its KV cache too. */
  readonly measured: 'never' | 'bytes' | 'cache';
  /** What its files say; null = nobody asks. */
  readonly size: ModelSize | null;
  /** How long it takes to make its files present, the first time. */
  readonly prepareMs: number;
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
  /** They ask again after this long when they are refused, whatever the answer says; absent = they do as they are told. */
  readonly storms?: number;
}

/** They come on their own, whether those before them were answered or not; every hundredth part of them as said. */
export interface OpenLoopIntent {
  readonly kind: 'open_loop';
  readonly model: string;
  readonly keys: number;
  /** On average; the times between them are exponential. */
  readonly gapMs: number;
  /** On average. */
  readonly workMs: number;
  readonly lastsMs: number;
  /** Of a hundred, how many go away before they are answered, after so long on average. */
  readonly leave: number;
  readonly leaveAfterMs: number;
  /** Of a hundred, how many meet a connection that fails at first. */
  readonly refused: number;
  /** Of a hundred, how many say how long they will wait. */
  readonly patient: number;
}

/** `dies`: soon after it was ready. */
export type StartFault = 'dies' | 'fails' | 'exits' | 'hangs' | 'crawls' | 'port_taken' | 'never_spawns';
/** `late`: the process ends at once, its memory comes back later. */
export type StopFault = 'slow' | 'stuck' | 'late';
/** `slow`: alive, but longer than anybody waits. */
export type PrepareFault = 'fails' | 'hangs' | 'slow';
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
  | 'startable'
  /** A device is no longer there for us … */
  | 'device_lost'
  /** … and all of them are. */
  | 'devices_back';

export type Intent = { readonly at: number } & (
  | RequestIntent
  | ClosedLoopIntent
  | OpenLoopIntent
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
  /** `unsaid`: nobody is told; its health has to tell. */
  | { readonly kind: 'crash'; readonly model: string; readonly unsaid?: boolean }
  | { readonly kind: 'hang' | 'sick' | 'slow_health'; readonly model: string }
  /** Of the next preparation of this model. */
  | {
      readonly kind: 'prepare_fault';
      readonly model: string;
      readonly fault: PrepareFault;
      readonly cause: StartFailureCause;
    }
  | { readonly kind: 'foreign'; readonly device: string; readonly share: number }
  | { readonly kind: 'silent'; readonly device: string; readonly lastsMs: number }
  /** The engine of a model dies, and its workers keep its memory for a while. */
  | { readonly kind: 'orphaned'; readonly model: string; readonly lastsMs: number }
  /** Its health comes and goes. */
  | { readonly kind: 'flaps'; readonly model: string; readonly lastsMs: number }
  /** Another program takes more and more of a device, and gives it back. */
  | { readonly kind: 'tenant'; readonly device: string; readonly share: number; readonly everyMs: number }
  /** What is read of a device is what was read before, or anything. */
  | { readonly kind: 'misread'; readonly device: string; readonly how: 'stale' | 'garbage'; readonly lastsMs: number }
  /** A device falls off the bus: its engines die, it is silent, and some day it is back. */
  | { readonly kind: 'device_dies'; readonly device: string; readonly lastsMs: number }
  /** The whole machine sleeps, or the gateway alone is stopped for a while. */
  | { readonly kind: 'suspended' | 'frozen'; readonly lastsMs: number }
  /** Somebody sets the wall clock. */
  | { readonly kind: 'wall_jump'; readonly byMs: number }
  /** Nothing can be written for a while. */
  | { readonly kind: 'disk_full'; readonly lastsMs: number }
  /** The gateway is asked to end, and is started anew once it has. */
  | { readonly kind: 'restarted'; readonly keep: boolean }
  /** A late word about a replica that is another one by now. */
  | { readonly kind: 'stale'; readonly model: string }
  /**
   * The gateway dies and comes back, with the configuration of one model changed meanwhile: engines live on. It takes
   * `looksMs` to find them. `lost`: of a hundred records of running engines; `torn`: nor can be read what else it wrote.
   */
  | {
      readonly kind: 'killed';
      readonly adoptable: boolean;
      readonly changed?: string;
      readonly looksMs?: number;
      readonly lost?: number;
      readonly torn?: boolean;
    }
);

export interface Scenario {
  readonly name: string;
  readonly seed: number;
  readonly devices: readonly SimulatedDevice[];
  readonly models: readonly SimulatedModel[];
  readonly limits: FleetSettings['limits'];
  readonly attempts: number;
  readonly ports: { readonly first: number; readonly last: number; readonly begin?: number };
  /** Timers of the shell come up to this much late. */
  readonly timerLagMs: number;
  /** Every effect takes up to this long. */
  readonly latencyMs: number;
  /** Faults and load until here; then all faults end and everything must come right. */
  readonly safetyMs: number;
  /**
   * Who reads the devices: nobody (others' memory is told of at once), one who tells processes apart, or one who sees
   * whole devices only.
   */
  readonly probe: 'none' | 'processes' | 'devices';
  /** Until here no device can be read: one stands for all. Null = they can from the beginning. */
  readonly unreadUntil: number | null;
  readonly eviction: MemoryRules['eviction'];
  /** Full recounts so many events apart; after every event when absent. */
  readonly recountEvery?: number;
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
  sizing: null,
  needsPreparation: false,
  needsPort: true,
};

const ENGINE: Omit<SimulatedModel, 'settings'> = {
  loadMs: 20_000,
  hasCounters: true,
  milestones: true,
  truth: { steady: 1, peak: 1 },
  measured: 'never',
  size: null,
  prepareMs: 0,
};

/** What a size is computed from, with the built-in defaults. */
export function simulatedSizing(over: Partial<SizingSettings> = {}): SizingSettings {
  return {
    utilization: 0.9,
    maxModelLen: 8_192,
    kvSequences: 16,
    maxNumSeqs: 16,
    maxBatchedTokens: 8_192,
    kvElementBytes: null,
    weightElementBytes: null,
    colocate: false,
    autoParallel: false,
    ...over,
  };
}

/** Files of a model that says how large its weights are, and keeps no KV cache. */
export function sizeOfWeights(weightBytes: number): ModelSize {
  return {
    kind: 'shape',
    shape: { weightBytes, kv: [], kvElementBytes: 2, nativeLength: 8_192, attentionHeads: 32, notes: [] },
  };
}

/** A model with the built-in defaults, but for what is said. */
export function simulatedModel(
  name: string,
  over: Partial<SimulatedModel['settings']> = {},
  engine: Partial<Omit<SimulatedModel, 'settings'>> = {},
): SimulatedModel {
  return { settings: { ...MODEL, name, specHash: `${name}#0`, ...over }, ...ENGINE, ...engine };
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
    probe: 'none',
    unreadUntil: null,
    eviction: 'lru',
    keepAtEnd: false,
    intents: [],
    ...over,
  };
}

/** Stands for all devices while they cannot be read. */
export const UNREAD = 'gpus';

export function deviceSettings({ id, totalBytes, budgetBytes }: SimulatedDevice): DeviceSettings {
  const deviceClass = `card of ${Math.round(totalBytes / GIB)} GiB`;
  return { id, totalBytes, budgetBytes, pool: null, uuid: null, deviceClass, unmeasured: false };
}

export function memoryRules(scenario: Pick<Scenario, 'eviction'>): MemoryRules {
  return {
    placementMode: 'budget',
    eviction: scenario.eviction,
    overheadFactor: 1.1,
    overhead: GIB / 4,
    colocateMargin: GIB,
    weightOverhead: 1.15,
    budgetFraction: 1,
  };
}

export function settingsOf(scenario: Scenario): FleetSettings {
  return {
    version: 1,
    limits: scenario.limits,
    retry: { attempts: scenario.attempts },
    ports: scenario.ports,
    memory: memoryRules(scenario),
    devices: scenario.devices.map(deviceSettings),
    models: new Map(
      scenario.models.map(({ settings }) => [settings.name, { ...settings, driver: 'simulated', unstartable: null }]),
    ),
  };
}

/** The same while no device can be read. */
export function unreadSettings(settings: FleetSettings): FleetSettings {
  const unread: DeviceSettings = {
    ...{ id: UNREAD, totalBytes: GIB, budgetBytes: GIB, pool: null, uuid: null },
    deviceClass: 'unread',
    unmeasured: true,
  };
  const models = [...settings.models].map(
    ([name, model]) => [name, { ...model, deviceIds: model.deviceCount === 0 ? [] : [UNREAD] }] as const,
  );
  return { ...settings, devices: [unread], models: new Map(models) };
}
