/** `plan --config`: the gateway's own rules over this machine with nothing running. Reads, changes nothing. */
import type { Config, ModelConfig } from './config/config.ts';
import { withoutSizes } from './controller/device-monitor.ts';
import { FootprintFile } from './controller/footprint-file.ts';
import { emptyFleet } from './core/fleet.ts';
import type { ModelSize } from './core/memory/model-shape.ts';
import { planReport, type PlanReport } from './core/memory/plan-report.ts';
import type { FleetState } from './core/state.ts';
import { missingDevices, namesDevices } from './fleet-devices.ts';
import { toFleetSettings } from './fleet-settings.ts';
import { createFileFacts, refusalOf } from './model-sizes.ts';
import type { Platform } from './platform/platform.ts';
import type { Probe, ProbeReading } from './probes/probe.ts';
import { createProbe } from './probes/registry.ts';

export interface OfflinePlanOptions {
  readonly config: Config;
  readonly platform: Platform;
  readonly probe: Probe;
  readonly sizeOf: (model: ModelConfig) => Promise<ModelSize>;
  /** Told what could not be found out. */
  readonly note: (text: string) => void;
}

/** Labels the helper container of the docker probe, which is removed when it is closed. */
const NOBODY_LENGTH = 12;

/** With the devices and the model files of this machine. */
export function planOnThisMachine(
  { config, platform, note }: Omit<OfflinePlanOptions, 'probe' | 'sizeOf'>,
  only: string | undefined,
): Promise<PlanReport> {
  const { devices, drivers } = config;
  const probe = createProbe(devices, drivers.docker, platform, platform.random.hex(NOBODY_LENGTH));
  return planOffline({ config, platform, probe, ...createFileFacts(config, platform, null), note }, only);
}

/** Of all models, or of one. Each is planned as if it were asked for alone. */
export async function planOffline(options: OfflinePlanOptions, only: string | undefined): Promise<PlanReport> {
  const { config, platform } = options;
  const reading = await readDevices(options);
  const now = platform.clock.monotonic();
  const state = emptyFleet(toFleetSettings(config, 1, platform.sha256, reading, refusalOf(config)), now);
  observe(state, reading, now);
  const wanted = [...state.models.values()].filter(({ name }) => only === undefined || name === only);
  await Promise.all(
    wanted.map(async (model) => {
      const configured = config.models.get(model.name);
      if (model.settings.sizing !== null && configured) model.size = await options.sizeOf(configured);
    }),
  );
  for (const footprint of await learned(options)) {
    const model = state.models.get(footprint.model);
    if (model) model.footprints = [...model.footprints, footprint];
  }
  return planReport(state, now, only);
}

/** Null = the GPUs cannot be read, as a gateway would see it here. */
async function readDevices({ config, probe, note }: OfflinePlanOptions): Promise<ProbeReading | null> {
  try {
    const reading = await probe.read();
    if (reading.devices.length === 0) {
      // The configuration names some: then there are some, whatever the reading says.
      const named = namesDevices(config);
      const so = named ? '' : ' Without GPUs no memory is counted, and every model starts as soon as it is asked for.';
      note(`${sentence(probe.detail ?? 'finds no GPUs')}${so} ${LIST_THEM}`);
      return named ? null : reading;
    }
    const sizeless = withoutSizes(reading);
    if (sizeless !== null) throw new Error(sizeless);
    const missing = missingDevices(config, reading);
    if (missing !== null) note(missing);
    return reading;
  } catch (error) {
    note(`${sentence(`cannot read GPUs: ${error instanceof Error ? error.message : String(error)}`)} ${LIST_THEM}`);
    return null;
  } finally {
    await probe.close();
  }
}

const LIST_THEM = 'To plan for another machine write its GPUs into devices.list, with devices.probe: static.';

const sentence = (text: string): string => `This machine ${text.replace(/\.$/, '')}.`;

/** Nothing of ours runs: whatever is in use belongs to others. */
function observe(state: FleetState, reading: ProbeReading | null, now: number): void {
  for (const { id, usedBytes, trouble } of reading?.devices ?? []) {
    const device = state.devices.get(id);
    if (!device) continue;
    device.silent = trouble;
    if (usedBytes === null) continue;
    device.usedBytes = usedBytes;
    device.foreignBytes = usedBytes;
    device.observedAt = now;
  }
}

/** A gateway may be running on the same folder: damaged files are its business. */
function learned({ config, platform, note }: OfflinePlanOptions): ReturnType<FootprintFile['load']> {
  const { files, clock } = platform;
  const nothing = async (): Promise<void> => undefined;
  const readOnly = {
    stat: (path: string) => files.stat(path),
    readText: (path: string) => files.readText(path),
    rename: nothing,
    writeAtomic: nothing,
  };
  const say = (_fields: object, message: string): void => note(message);
  return new FootprintFile({
    platform: { files: readOnly, clock },
    log: { info: () => undefined, warn: say, error: say },
    folder: config.server.stateDir,
    legacyPath: platform.env['MEMORY_FOOTPRINT_FILE'] || null,
  }).load();
}
