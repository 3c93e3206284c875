/** Small worlds and nasty ones. Every figure is drawn anew, so that tight and generous worlds both occur. */
import type { StartFailureCause } from '../../src/errors.ts';
import { GIB } from '../../src/units.ts';
import { RECOUNT_EVERY } from './kernel.ts';
import { Random } from './random.ts';
import {
  simulatedDevice,
  simulatedSizing,
  sizeOfWeights,
  type Intent,
  type PrepareFault,
  type ReloadChange,
  type Scenario,
  type StartFault,
  type SimulatedDevice,
  type SimulatedModel,
} from './scenario.ts';

const CAUSES: readonly [StartFailureCause, ...StartFailureCause[]] = [
  'out_of_memory',
  'model_files',
  'bad_arguments',
  'crashed',
];

export function generateSwarm(seed: number): Scenario {
  const random = new Random(seed, 'swarm');
  const devices = drawDevices(random);
  const models = drawModels(random, devices);
  const safetyMs = random.int(2, 12) * 60_000;
  return {
    name: `seed ${seed}`,
    seed,
    devices,
    models,
    limits: {
      maxInFlight: random.chance(0.3) ? random.int(1, 6) : random.int(5, 60),
      maxTurn: random.chance(0.1) ? 0 : random.int(1, 60) * 1_000,
      minResidency: random.chance(0.2) ? 0 : random.int(1, 90) * 1_000,
      drainTimeout: random.int(1, 60) * 1_000,
    },
    attempts: random.int(1, 4),
    // Fewer ports than replicas, now and then.
    ports: { first: 20_000, last: 20_000 + (random.chance(0.1) ? random.int(0, 2) : 99) },
    timerLagMs: random.pick([0, 0, 5, 50]),
    latencyMs: random.pick([0, 2, 20, 200]),
    safetyMs,
    probe: random.pick(['none', 'processes', 'processes', 'devices']),
    unreadUntil: random.chance(0.1) ? random.int(1, safetyMs) : null,
    eviction: random.chance(0.25) ? 'value' : 'lru',
    keepAtEnd: random.chance(0.4),
    recountEvery: seed % 8 === 0 ? 1 : RECOUNT_EVERY,
    intents: drawIntents(new Random(seed, 'workload'), devices, models, safetyMs),
  };
}

export function drawDevices(random: Random, most = 4): SimulatedDevice[] {
  const count = random.int(1, most);
  const equal = random.chance(0.6);
  const size = random.pick([8, 16, 24, 48, 80]);
  const fraction = random.pick([0.9, 0.9, 1, 0.5]);
  return Array.from({ length: count }, (_, index) =>
    simulatedDevice(`gpu-${index}`, equal ? size : random.pick([8, 16, 24, 48, 80]), fraction),
  );
}

export function drawModels(random: Random, devices: readonly SimulatedDevice[], most = 6): SimulatedModel[] {
  const count = random.int(1, most);
  const smallest = Math.min(...devices.map((device) => device.budgetBytes));
  return Array.from({ length: count }, (_, index) => {
    const name = `m${index}`;
    const deviceCount = random.chance(0.05) ? 0 : devices.length > 1 && random.chance(0.25) ? 2 : 1;
    const some = devices.filter(() => random.chance(0.7)).map((device) => device.id);
    const share = random.chance(0.05) ? 3 : random.int(20, 100) / 100;
    return {
      settings: {
        name,
        specHash: `${name}#0`,
        maxQueueSize: random.chance(0.4) ? random.int(1, 5) : random.int(5, 60),
        maxConcurrent: random.int(1, 8),
        queueTimeout: random.chance(0.3) ? random.int(2, 20) * 1_000 : 540_000,
        inactivityTimeout: random.chance(0.3) ? 0 : random.int(1, 120) * 1_000,
        alwaysOn: random.chance(0.1),
        preload: random.chance(0.1),
        startTimeout: random.int(60, 300) * 1_000,
        startStallTimeout: random.int(15, 60) * 1_000,
        stopTimeout: random.int(1, 30) * 1_000,
        stallTimeout: random.int(10, 120) * 1_000,
        deviceCount,
        deviceIds: some.length >= deviceCount && random.chance(0.4) ? some : devices.map((device) => device.id),
        ...drawSize(random, smallest * share),
        needsPreparation: random.chance(0.5),
        needsPort: random.chance(0.8),
      },
      loadMs: random.int(1, 40) * 1_000,
      hasCounters: random.chance(0.7),
      milestones: random.chance(0.8),
      truth: drawTruth(random),
      measured: random.pick(['never', 'bytes', 'bytes', 'cache']),
      size: drawFiles(random, smallest * share * Math.max(1, deviceCount)),
      prepareMs: random.chance(0.3) ? 0 : random.int(1, 50) * 1_000,
    };
  });
}

/** Declared; or found out from its files, or by measuring; or simply all there is. */
function drawSize(random: Random, bytes: number): Pick<SimulatedModel['settings'], 'memory' | 'sizing'> {
  const way = random.next();
  if (way < 0.5) return { memory: Math.max(1, Math.floor(bytes)), sizing: null };
  if (way < 0.6) return { memory: null, sizing: null };
  return { memory: null, sizing: simulatedSizing({ utilization: random.int(20, 95) / 100 }) };
}

function drawFiles(random: Random, bytes: number): SimulatedModel['size'] {
  const way = random.next();
  if (way < 0.1) return null;
  if (way < 0.3) return { kind: 'unknown', reason: 'its files do not say', passing: random.chance(0.5) };
  return sizeOfWeights(Math.max(GIB / 8, Math.floor(bytes * 0.8)));
}

/** Mostly less than promised, now and then more. */
function drawTruth(random: Random): SimulatedModel['truth'] {
  const steady = random.chance(0.08) ? random.int(102, 110) / 100 : random.int(25, 100) / 100;
  const peak = random.chance(0.08) ? steady + random.int(2, 20) / 100 : Math.max(steady, random.int(50, 100) / 100);
  return { steady, peak };
}

function drawIntents(
  random: Random,
  devices: readonly SimulatedDevice[],
  models: readonly SimulatedModel[],
  safetyMs: number,
): Intent[] {
  const intents: Intent[] = [];
  const count = random.int(10, 120);
  // Some worlds know no faults, others little else.
  const faultiness = random.pick([0, 0.1, 0.3, 0.6]);
  for (let index = 0; index < count; index += 1) {
    const at = random.int(0, safetyMs);
    // Zipf-like: the first model is the hot one.
    const model = models[Math.min(models.length - 1, random.around(1))]?.settings.name ?? 'm0';
    intents.push(
      random.chance(faultiness) ? drawFault(random, at, model, devices) : drawLoad(random, at, model, safetyMs),
    );
  }
  return intents.toSorted((one, other) => one.at - other.at);
}

function drawLoad(random: Random, at: number, model: string, safetyMs: number): Intent {
  if (random.chance(0.06)) {
    const lastsMs = random.int(10_000, Math.max(10_001, Math.floor(safetyMs / 2)));
    return {
      at,
      kind: 'closed_loop',
      model,
      clients: random.int(1, 8),
      workMs: random.int(100, 5_000),
      thinkMs: 50,
      lastsMs,
    };
  }
  if (random.chance(0.08)) return { at, kind: random.pick(['load', 'unload', 'pin', 'unpin', 'unpin']), model };
  return {
    at,
    kind: 'request',
    model,
    key: random.pick(['a', 'a', 'b', 'c']),
    count: random.chance(0.1) ? random.int(5, 40) : 1,
    workMs: random.chance(0.1) ? random.int(10_000, 200_000) : random.around(1_500),
    patience: random.chance(0.1) ? random.int(1, 60) * 1_000 : null,
    leavesAfter: random.chance(0.3) ? random.around(10_000) : null,
    connectFailures: random.chance(0.1) ? random.int(1, 4) : 0,
  };
}

export function drawFault(random: Random, at: number, model: string, devices: readonly SimulatedDevice[]): Intent {
  const device = random.any(devices)?.id ?? 'gpu-0';
  const share = random.int(1, 19) / 20;
  switch (random.int(0, 25)) {
    case 18:
      return { at, kind: random.pick(['suspended', 'frozen', 'frozen']), lastsMs: random.int(100, 60_000) };
    case 19:
      return { at, kind: 'restarted', keep: random.chance(0.7) };
    case 20:
      return { at, kind: 'tenant', device, share, everyMs: random.int(1, 20) * 1_000 };
    case 21:
      return {
        at,
        kind: 'misread',
        device,
        how: random.pick(['stale', 'garbage']),
        lastsMs: random.int(5, 60) * 1_000,
      };
    case 22:
      return { at, kind: 'device_dies', device, lastsMs: random.int(5, 120) * 1_000 };
    case 23:
      return { at, kind: random.pick(['orphaned', 'flaps']), model, lastsMs: random.int(1, 120) * 1_000 };
    case 24:
      return random.chance(0.5)
        ? { at, kind: 'wall_jump', byMs: random.int(-3_600_000, 3_600_000) }
        : { at, kind: 'disk_full', lastsMs: random.int(1, 120) * 1_000 };
    case 0:
    case 1:
    case 2: {
      const fault = random.pick<StartFault>([
        'dies',
        'dies',
        'dies',
        'fails',
        'exits',
        'hangs',
        'crawls',
        'port_taken',
        'port_taken',
        'never_spawns',
      ]);
      return { at, kind: 'start_fault', model, fault, cause: random.pick(CAUSES), share };
    }
    case 3:
      return { at, kind: 'stop_fault', model, fault: 'slow', lastsMs: random.int(1, 30) * 1_000 };
    case 4:
      return {
        at,
        kind: 'stop_fault',
        model,
        fault: random.pick(['stuck', 'late']),
        lastsMs: random.int(1, 120) * 1_000,
      };
    case 5:
    case 6:
      return { at, kind: 'crash', model, unsaid: random.chance(0.2) };
    case 7:
      return { at, kind: 'hang', model };
    case 8:
      return { at, kind: random.pick(['sick', 'slow_health']), model };
    case 9:
      return { at, kind: 'foreign', device, share: random.pick([0, 0, 0.3, 0.9]) };
    case 10:
      return { at, kind: 'stale', model };
    case 12:
    case 13: {
      const fault = random.pick<PrepareFault>(['fails', 'fails', 'hangs', 'slow']);
      return { at, kind: 'prepare_fault', model, fault, cause: random.pick(['model_files', 'image']) };
    }
    case 14:
      return { at, kind: 'silent', device, lastsMs: random.int(5, 120) * 1_000 };
    case 11:
      return {
        at,
        kind: 'killed',
        adoptable: random.chance(0.8),
        ...(random.chance(0.3) ? { changed: model } : {}),
        looksMs: random.chance(0.5) ? 0 : random.int(1, 10_000),
        lost: random.chance(0.2) ? random.int(20, 100) : 0,
        torn: random.chance(0.1),
      };
    default: {
      const change = random.pick<ReloadChange>([
        'spec',
        'memory',
        'turns',
        'removed',
        'added',
        'added',
        'limits',
        'max_in_flight',
        'always_on',
        'not_always_on',
        'unstartable',
        'startable',
        'startable',
        'device_lost',
        'devices_back',
        'devices_back',
      ]);
      return { at, kind: 'reload', model, change, value: random.int(0, 40) };
    }
  }
}
