/** A fleet at rest: nothing runs, nothing waits. */
import type { Milliseconds } from '../units.ts';
import { TicketQueue } from './admission/queue.ts';
import { RetryWindow } from './admission/retry-budget.ts';
import { Deadlines } from './deadlines.ts';
import { Asking } from './memory/asked.ts';
import { Ring } from './ring.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from './settings.ts';
import type { Device, FleetState, Model } from './state.ts';

export function newModel(settings: ModelSettings, now: Milliseconds): Model {
  return {
    name: settings.name,
    settings,
    size: null,
    preparation: null,
    prepared: !settings.needsPreparation,
    image: null,
    footprints: [],
    startTimes: [],
    shortage: 0,
    queue: new TicketQueue(),
    asking: new Asking(),
    current: null,
    generation: 0,
    backoff: { failures: 0, until: null },
    lastFailure: null,
    lastUsedAt: null,
    queueClock: { elapsed: 0, runningSince: now },
    coldClock: { elapsed: 0, runningSince: null },
    unplacedSince: null,
    waitingFor: null,
    lastPlanFailure: null,
    pinned: false,
    loadRequested: false,
    portRetryUsed: false,
    portsSkipped: 0,
    meanLease: null,
    retries: new RetryWindow(),
    disturbed: 0,
    displaced: new Set(),
  };
}

export function newDevice(settings: DeviceSettings): Device {
  return {
    ...settings,
    usedBytes: null,
    observedAt: null,
    foreignBytes: 0,
    silent: null,
    gateHolder: null,
    gateSince: null,
    quarantine: null,
  };
}

export function emptyFleet(settings: FleetSettings, now: Milliseconds): FleetState {
  return {
    settings,
    models: new Map([...settings.models].map(([name, model]) => [name, newModel(model, now)])),
    devices: new Map(settings.devices.map((device) => [device.id, newDevice(device)])),
    replicas: new Map(),
    tickets: new Map(),
    leases: new Map(),
    grantable: new Ring(),
    unplaced: new Ring(),
    orphaned: new Set(),
    restoring: new Map(),
    gateQueue: [],
    ports: new Set(),
    nextPort: settings.ports.begin ?? settings.ports.first,
    deadlines: new Deadlines(),
    retries: new RetryWindow(),
    counters: {
      received: 0,
      grantedTotal: 0,
      refused: 0,
      abandoned: 0,
      released: 0,
      returned: 0,
      starts: 0,
      startsFailed: 0,
      stops: 0,
      evictions: 0,
      fences: 0,
      staleResults: 0,
    },
    adopting: false,
    shutdown: null,
  };
}
