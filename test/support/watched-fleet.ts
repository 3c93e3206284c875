/** A scripted fleet whose devices are read by a scripted probe, on a virtual clock: two models of 10 GiB. */
import { reconcile } from '../../src/controller/reconcile.ts';
import type { FleetSettings, ModelSettings } from '../../src/core/settings.ts';
import type { Device } from '../../src/core/state.ts';
import type { ProbeReading } from '../../src/probes/probe.ts';
import { GIB, SECOND, type Milliseconds } from '../../src/units.ts';
import {
  createScriptedFleet,
  deviceSettings,
  fleetSettings,
  modelSettings,
  RecordingSink,
  silentLog,
  type ScriptedFleet,
  type ScriptedFleetOptions,
} from './scripted-fleet.ts';
import type { ScriptedProbe } from './scripted-probe.ts';

const MODELS = ['a', 'b'] as const;

/** As `toFleetSettings` would: what was read, or the one device that stands for all. */
function settingsFor(reading: ProbeReading | null, version: number, over: Partial<ModelSettings> = {}): FleetSettings {
  const devices = reading?.devices.map(({ id, totalBytes }) =>
    deviceSettings(id, { totalBytes, budgetBytes: totalBytes - 2 * GIB }),
  ) ?? [deviceSettings('gpus', { unmeasured: true, totalBytes: GIB, budgetBytes: GIB })];
  const deviceIds = devices.map(({ id }) => id);
  const models = MODELS.map((name) => modelSettings(name, { deviceIds, memory: 10 * GIB, ...over }));
  return fleetSettings(models, { version, devices });
}

export interface WatchedFleetOptions {
  readonly models?: Partial<ModelSettings>;
  readonly devices?: ScriptedFleetOptions['devices'];
  readonly runtime?: ScriptedFleetOptions['runtime'];
}

/** Nothing has been read yet. */
export function watchedFleet(probe: ScriptedProbe, options: WatchedFleetOptions = {}): ScriptedFleet {
  const settings = (reading: ProbeReading | null, version: number): FleetSettings =>
    settingsFor(reading, version, options.models);
  const fleet = createScriptedFleet(settings(null, 1), {
    probe,
    devices: { known: null, settings, ...options.devices },
    ...(options.runtime ? { runtime: options.runtime } : {}),
  });
  fleet.engineAnswers();
  return fleet;
}

/** Its devices are found, or could not be, and whatever the driver lists was looked at. */
export async function startedFleet(probe: ScriptedProbe, options: WatchedFleetOptions = {}): Promise<ScriptedFleet> {
  const fleet = watchedFleet(probe, options);
  const { controller, runtimes, platform } = fleet;
  controller.post({ kind: 'adoption.begun' });
  const { signal } = new AbortController();
  const looked = reconcile({ controller, runtimes, platform, log: silentLog, signal, ending: signal });
  await pass(fleet, 3 * SECOND);
  await looked;
  return fleet;
}

export const ask = (model: string) => ({
  id: `ask-${model}`,
  model,
  keyId: 'anonymous',
  stream: false,
  patience: null,
});

export function deviceOf({ controller }: ScriptedFleet, id = 'gpu-0'): Device | undefined {
  return controller.state.devices.get(id);
}

/** Lets time pass in steps, as a machine would: whatever a step brings about is done before the next. */
export async function pass({ platform, flush }: ScriptedFleet, time: Milliseconds): Promise<void> {
  await flush();
  for (let left = time; left > 0; left -= SECOND) {
    platform.clock.advance(Math.min(SECOND, left));
    await flush();
  }
}

/** Starts the model, or finds it ready; the replica's id. */
export async function warm(fleet: ScriptedFleet, model: string): Promise<string> {
  const sink = new RecordingSink();
  const answer = fleet.controller.desk.acquire(ask(model), sink);
  await pass(fleet, 2 * SECOND);
  const lease = answer.kind === 'lease' ? answer : sink.leases[0];
  if (!lease) throw new Error(`${model} is not up: ${JSON.stringify(sink.refusals)}`);
  lease.release('completed');
  return lease.replicaId;
}
