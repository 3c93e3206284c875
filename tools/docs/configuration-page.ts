/** docs/configuration.md, from the tables of keys that the configuration is read with. */
import { OTHER_VARIABLES, RETIRED } from '../../src/config/environment.ts';
import { authKeyKeys, driverDefaultKey, driverSections, plainSections } from '../../src/config/schema/file.ts';
import { modelKeys } from '../../src/config/schema/model-keys.ts';
import type { Group, Key, Keys } from '../../src/config/schema/key.ts';
import { deviceEntryKeys, deviceKeys } from '../../src/config/schema/sections.ts';
import { HUB_VARIABLES } from './compose-file.ts';
import { code, page, table } from './markdown.ts';

const RULES = `Per key: **flag > file > environment > built-in default**. For the keys of a model: the model's entry > \`defaults\` >
environment > built-in. An empty variable is not set. \`vllm-gateway check\` shows what is in force and why.

The file is the one named by \`--config\`, else by \`GATEWAY_CONFIG_FILE\`, else by \`MODELS_CONFIG_FILE\`, else \`./gateway.yaml\`, else
\`/app/config/models.yaml\`. Keys that nobody knows refuse the start; top-level keys that begin with \`x-\` are free, for YAML anchors.

- **Durations**: \`250ms\`, \`30s\`, \`5m\`, \`1h\`, or a bare number of seconds.
- **Sizes**: \`512MiB\`, \`24GiB\`, \`10GB\`. A bare number means MiB, and only where noted.
- **Variables**: \`\${NAME}\` and \`\${NAME:-default}\` (upper case) are replaced in values; \`$\${\` is a literal \`\${\`.
- **Templates**: lower-case \`\${port}\`, \`\${host}\`, \`\${model}\`, \`\${repo}\`, \`\${devices}\` are replaced when an engine starts; only in
  \`command\`, \`env\` and \`health_path\`.
- **Secrets**: plain, \`\${NAME}\`, \`file:PATH\`; API keys also \`sha256:HEX\`.

A number or duration from the environment that cannot be used is an error in the log and in \`check\`, and the default is used; with
\`--strict\` the gateway refuses to start. Anything wrong in a file always refuses. \`gateway.schema.json\` is the JSON Schema of the file:
editors complete and check keys with the line \`# yaml-language-server: $schema=gateway.schema.json\` at its top.`;

/** Of the machine; the image has them where its volumes are. */
const HUB_FOLDERS: Readonly<Record<string, string>> = {
  HF_HOME: 'Folder of the model cache and the token; ~/.cache/huggingface.',
  HF_HUB_CACHE: 'The model cache alone; hub below HF_HOME.',
  HF_TOKEN_PATH: 'File of the token; token below HF_HOME.',
};

export function configurationPage(): string {
  return page(
    'Configuration',
    RULES,
    ...Object.entries(plainSections).flatMap(([name, group]) => section(name, group)),
    '## `auth`',
    '`none`, or a mapping with `keys`, a list of:',
    keyTable(authKeyKeys),
    '## `devices`',
    keyTable(deviceKeys),
    'Entries of `devices.list`, for the probes `static` and `simulated`:',
    keyTable(deviceEntryKeys),
    '## `drivers`',
    keyTable({ default: driverDefaultKey }),
    ...Object.entries(driverSections).flatMap(([name, group]) => section(`drivers.${name}`, group)),
    '## `pools`',
    'Names of pools, each with a list of device UUIDs or ids of `devices.list`. Once there are pools, every model that takes device memory names one.',
    '## `models` and `defaults`',
    'Under `models` each key is a name that clients ask for. `defaults` takes the same keys, but for `repo` and `aliases`.',
    keyTable(modelKeys),
    '## Environment without a key',
    variables(OTHER_VARIABLES),
    '## Environment of the model hub',
    'The names that the tools of the hub use as well.',
    variables({ ...HUB_VARIABLES, ...HUB_FOLDERS }),
    '## Environment that sets nothing any more',
    'Variables of the predecessor; each one is named in a warning.',
    variables(RETIRED),
  );
}

function section(name: string, group: Group<Keys>): readonly string[] {
  return [`## \`${name}\``, group.about, keyTable(group.keys)];
}

function keyTable(keys: Keys): string {
  return table(['Key', 'Default', 'Allowed', 'Environment', 'Meaning'], rowsOf(keys, ''));
}

function rowsOf(keys: Keys, prefix: string): readonly (readonly string[])[] {
  return Object.entries(keys).flatMap(([name, entry]) =>
    entry.kind === 'group' ? rowsOf(entry.keys, `${prefix}${name}.`) : [row(prefix + name, entry)],
  );
}

function row(name: string, key: Key<unknown>): readonly string[] {
  return [code(name), fallbackOf(key), short(key.reader.allows), key.env.map(code).join('\n'), key.about];
}

/** The rules at the top of the page say once what a duration and a size are. */
function short(allows: string): string {
  return allows
    .replace(/a duration such as [^(]*\(a bare number is seconds\)/, 'a duration')
    .replace(/a size such as 24GiB or 512MiB/, 'a size')
    .replace('a list of which each entry is', 'a list; each entry')
    .replace(/ with a port from 0 to 65535, such as .*?\[::1\]:9000/, '');
}

function fallbackOf(key: Key<unknown>): string {
  if (key.fallbackText !== undefined) return key.fallbackText;
  const shown = key.fallback === undefined ? undefined : key.reader.show(key.fallback);
  if (shown === undefined || shown === '') return '';
  return code(typeof shown === 'string' ? shown : JSON.stringify(shown));
}

function variables(of: Readonly<Record<string, string>>): string {
  return table(
    ['Variable', 'Meaning'],
    Object.entries(of).map(([name, meaning]) => [code(name), meaning]),
  );
}
