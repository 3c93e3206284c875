/** The table "Who may import whom" of ARCHITECTURE.md, as an allow-list: what is not named here is refused. */
import { describe, expect, it } from 'vitest';
import {
  dynamicImportsOf,
  filesUnder,
  importsOf,
  isTest,
  readSource,
  resolveSpecifier,
} from './support/source-tree.ts';

interface Zone {
  /** Folders or files of src/ from which values and types may come. */
  readonly from?: readonly string[];
  /** Folders or files of src/ from which only `import type` may come. */
  readonly types?: readonly string[];
  readonly packages?: readonly string[];
  /** Node modules, with what stands below them: `stream` allows `node:stream/promises`. */
  readonly node?: readonly string[] | 'all';
}

/** Open to all: they import nothing but each other. */
const COMMON = ['errors.ts', 'units.ts'];

const ZONES: Readonly<Record<string, Zone>> = {
  'errors.ts': {},
  'units.ts': {},
  core: {},
  config: { packages: ['zod', 'yaml'] },
  platform: { packages: ['undici'], node: 'all' },
  telemetry: {
    from: ['platform'],
    types: ['core'],
    packages: [
      ...['pino', 'prom-client', '@opentelemetry/api', '@opentelemetry/sdk-trace', '@opentelemetry/resources'],
      '@opentelemetry/exporter-trace-otlp-http',
    ],
  },
  engines: { from: ['platform', 'config/merge-args.ts', 'config/vllm-versions.ts'], types: ['core', 'config'] },
  drivers: { from: ['platform'], types: ['core', 'config'], packages: ['dockerode'], node: ['stream'] },
  probes: { from: ['platform'], types: ['core', 'config'], packages: ['dockerode'], node: ['stream'] },
  controller: {
    from: ['core', 'platform', 'telemetry', 'engines/engine.ts', 'drivers/driver.ts', 'probes/probe.ts'],
  },
  auth: { from: ['platform'], types: ['config'], node: ['crypto'] },
  proxy: {
    from: ['auth', 'platform', 'telemetry'],
    types: ['controller/gate.ts', 'core'],
    packages: ['undici'],
    node: ['http', 'net', 'stream'],
  },
  workers: {
    from: ['auth', 'platform', 'proxy', 'telemetry'],
    types: ['controller/gate.ts', 'core'],
    node: ['http', 'net', 'stream'],
  },
  admin: {
    from: ['controller', 'config', 'auth', 'telemetry'],
    types: ['core'],
    packages: ['hono', '@hono/node-server', 'zod'],
    node: ['http'],
  },
  cli: {
    from: ['gateway.ts', 'admin/contract.ts', 'config', 'core', 'platform'],
    types: ['bench', 'doctor'],
    packages: ['commander'],
  },
  doctor: {
    from: ['config', 'engines', 'fleet-devices.ts', 'platform', 'probes', 'proxy-settings.ts'],
    types: ['core'],
  },
  bench: { from: ['platform'], node: ['http'] },
  // Translations and wiring that gateway.ts is made of.
  'launch-identity.ts': { types: ['config'] },
  'fleet-devices.ts': { from: ['config', 'core'], types: ['probes/probe.ts'] },
  'fleet-settings.ts': {
    from: ['config', 'core', 'fleet-devices.ts', 'launch-identity.ts', 'proxy-settings.ts'],
    types: ['probes/probe.ts'],
  },
  'proxy-settings.ts': { from: ['config', 'proxy'] },
  'model-runtimes.ts': {
    from: ['config', 'core', 'controller', 'drivers', 'engines', 'platform', 'proxy-settings.ts'],
    types: ['model-sizes.ts'],
  },
  'model-sizes.ts': { from: ['config', 'core', 'engines', 'platform'] },
  'pin-book.ts': { types: ['platform', 'telemetry'] },
  'data-plane.ts': {
    from: ['config', 'platform', 'proxy', 'workers'],
    types: ['controller', 'reloading.ts', 'telemetry'],
  },
  'ending-engines.ts': { types: ['config', 'controller', 'core', 'platform', 'reloading.ts', 'telemetry'] },
  'worker.ts': { from: ['admin/control-paths.ts', 'platform', 'workers'] },
  'reloader.ts': { from: ['config'], types: ['core', 'platform', 'telemetry'] },
  'reloading.ts': {
    from: [
      ...['auth', 'config', 'controller', 'core', 'platform', 'proxy', 'telemetry'],
      ...['fleet-devices.ts', 'launch-identity.ts', 'model-runtimes.ts', 'model-sizes.ts', 'pin-book.ts'],
      ...['proxy-settings.ts', 'reloader.ts'],
    ],
  },
  'offline-plan.ts': {
    from: [
      ...['config', 'controller', 'core', 'platform', 'probes'],
      ...['fleet-devices.ts', 'fleet-settings.ts', 'model-sizes.ts'],
    ],
  },
  'gateway.ts': {
    from: [
      ...[
        'core',
        'config',
        'controller',
        'engines',
        'drivers',
        'probes',
        'proxy',
        'admin',
        'auth',
        'telemetry',
        'platform',
      ],
      ...[
        'data-plane.ts',
        'ending-engines.ts',
        'fleet-devices.ts',
        'fleet-settings.ts',
        'model-runtimes.ts',
        'model-sizes.ts',
        'pin-book.ts',
        'reloading.ts',
      ],
    ],
  },
  'main.ts': {
    from: ['bench', 'cli', 'config', 'doctor', 'gateway.ts', 'offline-plan.ts', 'platform', 'telemetry'],
    node: 'all',
  },
};

/** Folders whose concrete members are named only in their registry and in gateway.ts; the interface is open. */
const REGISTERED: Readonly<Record<string, readonly string[]>> = {
  // How logs are cut into lines and kept is the same for every driver that has any.
  drivers: ['driver.ts', 'logs'],
  // What a model's files say is read the same way for every engine.
  engines: ['engine.ts', 'model-files'],
  // What nvidia-smi prints is read the same way, wherever it runs.
  probes: ['probe.ts', 'reading'],
};

/** Files that may load a module while running, with the reason. */
const DYNAMIC: Readonly<Record<string, string>> = {
  'src/data-plane.ts': 'worker processes, only where they are configured',
  'src/drivers/docker/client.ts': 'the Docker client, only where engines run in containers',
  'src/probes/docker/docker-connection.ts': 'the Docker client, only where the probe needs it',
  'src/telemetry/traces/load-tracing.ts': 'OpenTelemetry, only where traces are configured',
};

const sources = filesUnder('src').filter((path) => !isTest(path));

/** `src/core/state.ts` → `core`; `src/units.ts` → `units.ts`. */
function zoneOf(path: string): string {
  return path.split('/')[1] ?? '';
}

function within(path: string, allowed: readonly string[]): boolean {
  const inner = path.slice('src/'.length);
  return allowed.some((entry) => inner === entry || inner.startsWith(`${entry}/`));
}

function complaint(path: string, zone: Zone, specifier: string, typeOnly: boolean): string | undefined {
  if (specifier.startsWith('node:')) {
    const name = specifier.slice('node:'.length);
    const allowed =
      zone.node === 'all' || (zone.node ?? []).some((entry) => name === entry || name.startsWith(`${entry}/`));
    return allowed ? undefined : `${specifier} is not for ${zoneOf(path)}`;
  }
  if (!specifier.startsWith('.')) {
    const allowed = (zone.packages ?? []).some((entry) => specifier === entry || specifier.startsWith(`${entry}/`));
    return allowed ? undefined : `package ${specifier} is not for ${zoneOf(path)}`;
  }
  const target = resolveSpecifier(path, specifier);
  if (!target.endsWith('.ts') && !target.endsWith('.json')) return `${specifier} has no extension`;
  if (!target.startsWith('src/')) return `${specifier} leaves src/`;
  if (zoneOf(target) === zoneOf(path) || within(target, COMMON)) return undefined;
  if (within(target, zone.from ?? [])) return undefined;
  if (!within(target, zone.types ?? [])) return `${target} is not for ${zoneOf(path)}`;
  return typeOnly ? undefined : `${target}: only its types are for ${zoneOf(path)} (import type)`;
}

/** `src/drivers/process/driver.ts` → `src/drivers/process`; the interface, the registry and other folders → undefined. */
function concreteMember(path: string): string | undefined {
  const [, folder = '', member = ''] = path.split('/');
  const open = REGISTERED[folder];
  if (open === undefined || open.includes(member) || member === 'registry.ts') return undefined;
  return `src/${folder}/${member}`;
}

describe('the architecture', () => {
  it('puts every source into a zone of the table', () => {
    expect([...new Set(sources.map(zoneOf))].filter((zone) => !(zone in ZONES))).toEqual([]);
  });

  it('lets each folder import only what the table allows', () => {
    const complaints = sources.flatMap((path) =>
      importsOf(readSource(path)).flatMap(({ specifier, typeOnly, line }) => {
        const text = complaint(path, ZONES[zoneOf(path)] ?? {}, specifier, typeOnly);
        return text === undefined ? [] : [`${path}:${line}: ${text}`];
      }),
    );
    expect(complaints).toEqual([]);
  });

  it('names concrete drivers, engines and probes only in their registry and in gateway.ts', () => {
    const complaints = sources.flatMap((path) =>
      importsOf(readSource(path)).flatMap(({ specifier, line }) => {
        if (!specifier.startsWith('.')) return [];
        const member = concreteMember(resolveSpecifier(path, specifier));
        const registry = member === undefined ? '' : `src/${zoneOf(member)}/registry.ts`;
        const allowed =
          member === undefined || path === registry || path === 'src/gateway.ts' || concreteMember(path) === member;
        return allowed ? [] : [`${path}:${line}: ${specifier}`];
      }),
    );
    expect(complaints).toEqual([]);
  });

  it('loads no module while running, outside the listed places', () => {
    const complaints = sources
      .filter((path) => !(path in DYNAMIC))
      .flatMap((path) => dynamicImportsOf(readSource(path)).map((line) => `${path}:${line}`));
    expect(complaints).toEqual([]);
  });

  it('keeps tests and tools out of what ships', () => {
    const complaints = filesUnder('tools/fake-vllm')
      .filter((path) => !isTest(path))
      .flatMap((path) =>
        importsOf(readSource(path))
          .filter(
            ({ specifier }) =>
              specifier.startsWith('.') && !resolveSpecifier(path, specifier).startsWith('tools/fake-vllm/'),
          )
          .map(({ specifier, line }) => `${path}:${line}: ${specifier}`),
      );
    expect(complaints).toEqual([]);
  });

  it('would notice a breach of each kind', () => {
    const core = ZONES['core'] ?? {};
    expect(complaint('src/core/step.ts', core, 'node:timers/promises', false)).toBeDefined();
    expect(complaint('src/core/step.ts', core, 'zod', false)).toBeDefined();
    expect(complaint('src/core/step.ts', core, '../platform/platform.ts', true)).toBeDefined();
    expect(complaint('src/core/step.ts', core, './admission/queue', false)).toBeDefined();
    expect(complaint('src/core/step.ts', core, '../units.ts', false)).toBeUndefined();
    expect(complaint('src/proxy/forward.ts', ZONES['proxy'] ?? {}, '../core/state.ts', false)).toContain('import type');
    expect(complaint('src/proxy/forward.ts', ZONES['proxy'] ?? {}, '../core/state.ts', true)).toBeUndefined();
    expect(concreteMember('src/drivers/process/driver.ts')).toBe('src/drivers/process');
    expect(concreteMember('src/drivers/driver.ts')).toBeUndefined();
  });
});
