/** Fleets with residents, for tests of planning: built by hand, without the steps that would lead there. */
import { emptyFleet } from '../../src/core/fleet.ts';
import { blank } from '../../src/core/lifecycle/start.ts';
import type { FleetState, Replica } from '../../src/core/state.ts';
import {
  calmScenario,
  settingsOf,
  simulatedModel,
  type SimulatedDevice,
  type SimulatedModel,
} from '../simulation/scenario.ts';

export function fleetOf(
  devices: readonly SimulatedDevice[],
  models: readonly SimulatedModel[],
  minResidency = 90_000,
): FleetState {
  const { limits } = calmScenario({});
  return emptyFleet(settingsOf(calmScenario({ devices, models, limits: { ...limits, minResidency } })), 0);
}

export function device(id: string, bytes: number): SimulatedDevice {
  return { id, totalBytes: bytes, budgetBytes: bytes };
}

export function modelOn(
  name: string,
  memory: number | null,
  deviceIds: readonly string[],
  deviceCount = 1,
): SimulatedModel {
  return simulatedModel(name, { memory, deviceIds, deviceCount });
}

interface Resident {
  readonly model: string;
  readonly on: Readonly<Record<string, number>>;
  readonly readyAt?: number;
  readonly idleSince?: number;
  readonly leases?: number;
  readonly phase?: Replica['phase'];
}

/** A replica as it would stand there; its id is the name of its model. */
export function addResident(state: FleetState, resident: Resident): Replica {
  const { model: name, readyAt = 0, idleSince = 0, leases = 0, phase = 'ready' } = resident;
  const model = state.models.get(name);
  if (!model) throw new Error(`no model ${name}`);
  const replica: Replica = {
    ...blank(readyAt),
    id: name,
    generation: 1,
    model: name,
    driver: 'simulated',
    specHash: model.settings.specHash,
    configVersion: 1,
    stopTimeout: model.settings.stopTimeout,
    reservations: new Map(Object.entries(resident.on)),
    adopted: false,
    phase,
    launchedAt: readyAt,
    readyAt: phase === 'ready' || phase === 'draining' ? readyAt : null,
    idleSince,
    endpoint: { origin: `sim://${name}`, pathPrefix: '', pid: 1, container: null },
  };
  for (let lease = 0; lease < leases; lease += 1) replica.leases.add(`${name}-${lease}`);
  state.replicas.set(replica.id, replica);
  if (phase === 'ready' || phase === 'starting' || phase === 'reserved') model.current = replica.id;
  return replica;
}
