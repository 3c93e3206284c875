/** Puts another configuration in force: everything that was made of the old one is exchanged in one step. Wiring, not policy. */
import { createAccess } from './auth/access.ts';
import type { Access } from './auth/auth.ts';
import type { Config, DriverKind } from './config/config.ts';
import { logSecrets } from './config/log-secrets.ts';
import type { ConfigDiff } from './config/reload-diff.ts';
import type { Controller } from './controller/controller.ts';
import { listBefore, type ReconcileContext } from './controller/reconcile.ts';
import type { StartTimesFile } from './controller/start-times-file.ts';
import { listedDevices, missingDevices, namesDevices } from './fleet-devices.ts';
import { specHash } from './launch-identity.ts';
import type { ReplaceableRuntimes } from './model-runtimes.ts';
import { refusalOf } from './model-sizes.ts';
import type { PinBook } from './pin-book.ts';
import { FileWatch } from './platform/file-watch.ts';
import type { Platform } from './platform/platform.ts';
import type { ProxySettings } from './proxy/settings.ts';
import { toProxySettings } from './proxy-settings.ts';
import { Reloader, type ConfigLoader } from './reloader.ts';
import type { GatewayTelemetry } from './telemetry/create-telemetry.ts';

/** What is made of a configuration, once, and looked at again and again. */
export interface MadeOfConfig {
  readonly config: Config;
  readonly access: Access;
  readonly proxySettings: ProxySettings;
  readonly refuses: ReturnType<typeof refusalOf>;
}

export function makeOf(config: Config, platform: Pick<Platform, 'clock'>): MadeOfConfig {
  const { auth, server } = config;
  return {
    config,
    access: createAccess({ auth, allowedHosts: server.allowedHosts, corsOrigins: server.corsOrigins }),
    proxySettings: toProxySettings(config, platform.clock.wall()),
    refuses: refusalOf(config),
  };
}

/** The one place where it is looked up. */
export interface Present {
  made: MadeOfConfig;
}

export interface Ends {
  /** Nothing begins any more. */
  readonly ending: AbortController;
  readonly closing: AbortController;
}

/** Of a gateway, what a reload looks at or exchanges. */
export interface ReloadParts {
  readonly config: Config;
  readonly present: Present;
  readonly controller: Controller;
  readonly runtimes: ReplaceableRuntimes;
  readonly pins: PinBook;
  readonly startTimes: Pick<StartTimesFile, 'known'>;
  readonly telemetry: GatewayTelemetry;
  readonly platform: Platform;
  readonly ends: Ends;
  /** Called when keys, hosts or models may be others. */
  readonly configChanged: () => void;
}

export interface ConfigSource {
  readonly load: ConfigLoader;
  /** That the configuration was read from, as absolute paths: a change of one of them reloads; empty = none is watched. */
  readonly files: readonly string[];
}

export interface Source {
  readonly reloader: Reloader;
  /** Begins to watch its files, if there are any. */
  watch(): void;
  close(): void;
}

export function createSource(parts: ReloadParts, { load, files }: ConfigSource): Source {
  const { config, platform, telemetry, controller, ends } = parts;
  const { signal } = ends.ending;
  const watch = new FileWatch({ platform, changed: () => void reload() });
  const follow = (found: readonly string[]): void => {
    if (files.length > 0 && !signal.aborted) watch.follow(found);
  };
  const reloader = new Reloader({
    config,
    load,
    identity: (of, model) => specHash(of, model, platform.sha256),
    ending: () => signal.aborted,
    refuse: (next) => refusalOfMachine(parts, next),
    apply: (next, diff, tell) => replaceConfig(parts, next, diff, tell),
    looked: follow,
    decided: (decision) => controller.journal.add(decision),
    telemetry,
    clock: platform.clock,
  });
  const reload = async (): Promise<void> => {
    try {
      await reloader.reload('file', false);
    } catch (error) {
      if (!signal.aborted) telemetry.log.error({ err: error }, 'a changed configuration could not be looked at');
    }
  };
  return { reloader, watch: () => follow(files), close: () => watch[Symbol.dispose]() };
}

export function reconcilingOf({
  controller,
  runtimes,
  platform,
  telemetry,
  ends,
}: Omit<ReloadParts, 'configChanged'>): ReconcileContext {
  const [signal, ending] = [ends.closing.signal, ends.ending.signal];
  return { controller, runtimes, platform, log: telemetry.log, signal, ending };
}

/** Devices that the new configuration names and the machine has not got; null = none, or nobody can tell. */
function refusalOfMachine({ controller }: ReloadParts, next: Config): string | null {
  const reading = listedDevices(next) ?? controller.devices.reading;
  return reading === null ? null : missingDevices(next, reading);
}

/** `tell` is called in the very step. */
function replaceConfig(parts: ReloadParts, next: Config, diff: ConfigDiff, tell: () => void): void {
  const { present, controller, runtimes, telemetry, platform, pins, startTimes } = parts;
  const made = makeOf(next, platform);
  const exchangeRuntimes = runtimes.prepare(next, new Set(diff.drainAndRestart));
  const newlyUsed = driversOf(next).filter((kind) => !driversOf(present.made.config).includes(kind));
  for (const kind of newlyUsed) {
    const driver = runtimes.driverOf(kind);
    if (driver) listBefore(reconcilingOf(parts), driver);
  }
  controller.reconfigure(() => {
    present.made = made;
    exchangeRuntimes();
    telemetry.setLevel(next.log.level);
    telemetry.setSecrets(logSecrets(next, platform.env));
    telemetry.setModels(next.models.keys());
    tell();
    return controller.devices.renew(namesDevices(next), listedDevices(next));
  });
  parts.configChanged();
  // It may have been configured before.
  if (diff.add.length > 0) controller.post({ kind: 'start_times.loaded', times: startTimes.known });
  for (const name of diff.add) {
    if (pins.has(name)) controller.post({ kind: 'model.pin', model: name, pinned: true });
    if (next.models.get(name)?.preload === true) controller.post({ kind: 'model.load', model: name });
  }
}

function driversOf({ models }: Config): readonly DriverKind[] {
  return [...new Set([...models.values()].map(({ driver }) => driver))];
}
