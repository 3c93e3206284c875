/** Worlds like life: more devices and models than fit, hours of load that comes and goes, and what breaks in hours. */
import { HOUR, MINUTE, SECOND, type Milliseconds } from '../../src/units.ts';
import { drawDevices, drawFault, drawModels } from './generate-swarm.ts';
import { RECOUNT_EVERY } from './kernel.ts';
import { Random } from './random.ts';
import type { Intent, Scenario, SimulatedDevice, SimulatedModel } from './scenario.ts';

/** So many requests make a world that is run in a fifth of a second. */
const REQUESTS = 26_000;

export function generateLife(seed: number): Scenario {
  const random = new Random(seed, 'life');
  const drawn = drawDevices(random, 8);
  // Machines are bought with cards of one kind.
  const alike = random.chance(0.7);
  const devices = drawn.map((device) => (alike ? { ...(drawn[0] ?? device), id: device.id } : device));
  const ids = devices.map(({ id }) => id);
  const models = drawModels(random, devices, 10).map((model) => roomier(random, model, ids));
  const safetyMs = random.int(1, 4) * HOUR;
  return {
    name: `seed ${seed}`,
    seed,
    devices,
    models,
    limits: {
      maxInFlight: random.int(40, 150),
      maxTurn: random.chance(0.1) ? 0 : random.int(10, 90) * SECOND,
      minResidency: random.int(10, 120) * SECOND,
      drainTimeout: random.int(10, 120) * SECOND,
    },
    attempts: random.int(1, 4),
    ports: { first: 20_000, last: 20_099 },
    timerLagMs: random.pick([0, 1, 5]),
    latencyMs: random.pick([0, 2, 20]),
    safetyMs,
    probe: random.pick(['none', 'processes', 'processes', 'devices']),
    unreadUntil: random.chance(0.1) ? random.int(1, 10 * MINUTE) : null,
    eviction: random.chance(0.25) ? 'value' : 'lru',
    keepAtEnd: random.chance(0.4),
    recountEvery: RECOUNT_EVERY,
    intents: drawLife(new Random(seed, 'workload'), devices, models, safetyMs),
  };
}

/** Queues and slots as people set them. */
function roomier(random: Random, model: SimulatedModel, ids: readonly string[]): SimulatedModel {
  const loadMs = random.int(10, 180) * SECOND;
  const kept = random.chance(0.1);
  const settings = {
    ...model.settings,
    memory: model.settings.memory === null ? null : Math.floor(model.settings.memory * 0.6),
    deviceCount: random.chance(0.3) ? model.settings.deviceCount : Math.min(1, model.settings.deviceCount),
    deviceIds: random.chance(0.2) ? model.settings.deviceIds : ids,
    alwaysOn: kept && model.settings.alwaysOn,
    startTimeout: 2 * loadMs + MINUTE,
    startStallTimeout: Math.floor(loadMs / 2) + 20 * SECOND,
    maxQueueSize: random.int(50, 400),
    maxConcurrent: random.int(8, 50),
    inactivityTimeout: random.chance(0.3) ? 0 : random.int(2, 30) * MINUTE,
  };
  return { ...model, settings, loadMs };
}

function drawLife(
  random: Random,
  devices: readonly SimulatedDevice[],
  models: readonly SimulatedModel[],
  safetyMs: Milliseconds,
): Intent[] {
  const intents: Intent[] = [];
  // Zipf: the second is asked for half as often as the first, the third a third, and so on.
  const whole = models.reduce((sum, _, index) => sum + 1 / (index + 1), 0);
  models.forEach(({ settings: { name } }, index) => {
    const requests = REQUESTS / (index + 1) / whole;
    intents.push(...drawStreams(random, name, requests, safetyMs));
  });
  const faults = random.pick([0, 5, 20, 60]);
  for (let count = 0; count < faults; count += 1) {
    const model = random.any(models)?.settings.name ?? 'm0';
    const fault = drawFault(random, random.int(0, safetyMs), model, devices);
    intents.push(fault, ...mended(fault, fault.at + random.int(1, 20) * MINUTE));
  }
  for (let count = random.int(0, 12); count > 0; count -= 1) {
    const model = random.any(models)?.settings.name ?? 'm0';
    intents.push({
      at: random.int(0, safetyMs),
      kind: random.pick(['load', 'unload', 'pin', 'unpin', 'unpin']),
      model,
    });
  }
  return intents.toSorted((one, other) => one.at - other.at);
}

/** In life somebody sees to it: others go away again, what was taken out comes back. */
function mended(fault: Intent, at: Milliseconds): Intent[] {
  if (fault.kind === 'foreign') return [{ ...fault, at, share: 0 }];
  if (fault.kind !== 'reload') return [];
  switch (fault.change) {
    case 'removed':
      return [{ ...fault, at, change: 'added' }];
    case 'unstartable':
      return [{ ...fault, at, change: 'startable' }];
    case 'always_on':
      return [{ ...fault, at, change: 'not_always_on' }];
    case 'device_lost':
      return [{ ...fault, at, change: 'devices_back' }];
    default:
      return [];
  }
}

/** A day of one model: quiet hours, busy hours, people and programs, and now and then a crowd. */
function drawStreams(random: Random, model: string, requests: number, safetyMs: Milliseconds): Intent[] {
  const intents: Intent[] = [];
  const stretches = random.int(1, 4);
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    const lastsMs = random.int(Math.floor(safetyMs / 6), safetyMs);
    const at = random.int(0, safetyMs - lastsMs);
    const workMs = random.pick([300, 1_500, 1_500, 4_000, 12_000]);
    if (random.chance(0.15)) {
      const clients = random.int(2, 20);
      const thinkMs = Math.max(50, Math.floor((clients * lastsMs * stretches) / requests) - workMs);
      const storms = random.chance(0.2) ? { storms: random.int(200, 2_000) } : {};
      intents.push({ at, kind: 'closed_loop', model, clients, workMs, thinkMs, lastsMs, ...storms });
      continue;
    }
    intents.push({
      at,
      kind: 'open_loop',
      model,
      keys: random.int(1, 6),
      gapMs: Math.max(5, Math.floor((lastsMs * stretches) / requests)),
      workMs,
      lastsMs,
      leave: random.pick([0, 1, 1, 10]),
      leaveAfterMs: random.int(500, 20_000),
      refused: random.pick([0, 0, 1, 3]),
      patient: random.pick([0, 0, 2, 10]),
    });
  }
  if (random.chance(0.3)) {
    const crowd = { patience: null, leavesAfter: null, connectFailures: 0, key: 'crowd' };
    const count = random.int(50, 1_000);
    intents.push({
      at: random.int(0, safetyMs),
      kind: 'request',
      model,
      count,
      workMs: random.int(100, 5_000),
      ...crowd,
    });
  }
  return intents;
}
