/** The schema of a configuration file. */
import * as z from 'zod';
import { dockerKeys } from './docker-keys.ts';
import { DEFAULT_MARK, group, key, zodGroup, zodKey, type Keys, type Written } from './key.ts';
import { driverReader, modelKeys, sharedModelKeys } from './model-keys.ts';
import { choice } from './reader.ts';
import {
  deviceEntryKeys,
  deviceKeys,
  limitKeys,
  logKeys,
  memoryKeys,
  processKeys,
  retryKeys,
  serverKeys,
  timeoutKeys,
} from './sections.ts';
import { telemetryKeys } from './telemetry-keys.ts';
import { identifier, list, text } from './text-reader.ts';

export const ROLES = ['inference', 'admin', 'metrics'] as const;

export const authKeyKeys = {
  id: key({
    reader: identifier('a name such as team-a, for logs and metrics', 64),
    fallback: '',
    about: 'Name of the key in logs and metrics.',
  }),
  key: key({
    reader: text({ what: 'a key, ${NAME}, file:PATH or sha256:HEX', secret: true }),
    fallback: '',
    about: 'The key: plain, ${NAME}, file:PATH, or sha256:HEX of it.',
  }),
  roles: key({
    reader: list(choice(ROLES), { min: 1, unique: true }),
    fallback: ['inference'] as const,
    about: 'What it may do.',
  }),
  models: key({
    reader: list(identifier('a model name, where * stands for any letters'), { min: 1 }),
    fallback: ['*'],
    about: 'Models that it may use; * stands for any letters.',
  }),
};

export const driverDefaultKey = key({
  reader: driverReader,
  fallback: 'docker' as const,
  about: 'Driver of models that name none.',
});

/** Groups of the file that hold nothing but keys and groups. */
export const plainSections = {
  server: group('Listeners, bodies, shutdown.', serverKeys),
  log: group('Logging.', logKeys),
  limits: group('Queues and concurrency.', limitKeys),
  timeouts: group('How long an answer may take.', timeoutKeys),
  retry: group('Retries of connections to engines.', retryKeys),
  memory: group('How GPU memory is shared.', memoryKeys),
  telemetry: group('Traces with OpenTelemetry; metrics need no key.', telemetryKeys),
} as const;

export const driverSections = {
  docker: group('Engines in containers.', dockerKeys),
  process: group('Engines as processes of this machine.', processKeys),
} as const;

const modelName = z.string();

function root(): z.ZodType {
  const shape: Record<string, z.ZodType> = {};
  for (const [name, section] of Object.entries(plainSections)) shape[name] = zodGroup(section).optional();
  const authGroup = z
    .strictObject({ keys: z.array(zodGroup(group('An API key.', authKeyKeys, ['id', 'key']))).optional() })
    .meta({ description: 'API keys.', required: ['keys'] });
  shape['auth'] = z
    .union([z.literal('none'), authGroup])
    .meta({
      description: 'none = open to everyone who reaches the listener. Environment: GATEWAY_AUTH, GATEWAY_API_KEYS.',
    })
    .optional();
  const entry = group('A device.', deviceEntryKeys, ['id', 'memory']);
  shape['devices'] = z
    .strictObject({
      ...zodShape(deviceKeys),
      list: z
        .array(zodGroup(entry))
        .meta({ description: 'Devices of the static and simulated probes.', [DEFAULT_MARK]: [] })
        .optional(),
    })
    .meta({ description: 'GPUs.' })
    .optional();
  shape['drivers'] = z
    .strictObject({
      default: zodKey(driverDefaultKey),
      docker: zodGroup(driverSections.docker).optional(),
      process: zodGroup(driverSections.process).optional(),
    })
    .meta({ description: 'How engines are run.' })
    .optional();
  const pool = key({
    reader: list(identifier('the UUID of a device, or an id of devices.list', 128), { min: 1, unique: true }),
    fallback: [],
    about: 'UUIDs of its devices, or ids of devices.list.',
  });
  shape['pools'] = z
    .record(z.string(), zodKey(pool))
    .meta({ description: 'Groups of devices; once there are pools, every model that takes device memory names one.' })
    .optional();
  shape['defaults'] = zodGroup(
    group('Keys for every model that does not set them itself.', sharedModelKeys),
  ).optional();
  shape['models'] = z
    .record(modelName, zodGroup(group('A model.', modelKeys)))
    .meta({ description: 'Models by the name that clients use.' })
    .optional();
  return z.strictObject(shape).meta({
    title: 'vLLM Gateway configuration',
    required: ['models'],
    patternProperties: { '^x-': {} },
  });
}

function zodShape(keys: Keys): Record<string, z.ZodType> {
  return Object.fromEntries(
    Object.entries(keys).map(([name, entry]) => [
      name,
      entry.kind === 'key' ? zodKey(entry) : zodGroup(entry).optional(),
    ]),
  );
}

export const fileSchema = root();

export type WrittenModel = Written<typeof modelKeys>;

/** What a file holds after reading: every part optional, every value typed. */
export interface WrittenFile {
  readonly server?: Written<typeof serverKeys>;
  readonly log?: Written<typeof logKeys>;
  readonly limits?: Written<typeof limitKeys>;
  readonly timeouts?: Written<typeof timeoutKeys>;
  readonly retry?: Written<typeof retryKeys>;
  readonly auth?: 'none' | { readonly keys?: readonly Written<typeof authKeyKeys>[] };
  readonly devices?: Written<typeof deviceKeys> & { readonly list?: readonly Written<typeof deviceEntryKeys>[] };
  readonly memory?: Written<typeof memoryKeys>;
  readonly telemetry?: Written<typeof telemetryKeys>;
  readonly drivers?: {
    readonly default?: 'docker' | 'process' | 'external';
    readonly docker?: Written<typeof dockerKeys>;
    readonly process?: Written<typeof processKeys>;
  };
  readonly pools?: Readonly<Record<string, readonly string[]>>;
  readonly defaults?: Written<typeof sharedModelKeys>;
  readonly models?: Readonly<Record<string, WrittenModel>>;
}

/** JSON Schema (draft 2020-12) of a configuration file, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(fileSchema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema: json }) => {
      if (DEFAULT_MARK in json) {
        json['default'] = json[DEFAULT_MARK];
        delete json[DEFAULT_MARK];
      }
    },
  });
}

/** The file `gateway.schema.json`, byte for byte. */
export function renderJsonSchema(): string {
  return `${JSON.stringify(jsonSchema(), null, 2)}\n`;
}
