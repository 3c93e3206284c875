/** docs/configuration.md, from the tables of keys that the configuration is read with. */
import { OTHER_VARIABLES, RETIRED } from '../../src/config/environment.ts';
import { TRACE_VARIABLES } from '../../src/config/telemetry-settings.ts';
import { authKeyKeys, driverDefaultKey, driverSections, plainSections } from '../../src/config/schema/file.ts';
import { modelKeys } from '../../src/config/schema/model-keys.ts';
import { MODEL_RULES, SECTION_RULES, type ReloadRule, type RuleTree } from '../../src/config/reload-rules.ts';
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

const RELOAD = `**Reload.** A running gateway reads its configuration again when one of its files changes (the file itself, and every file that a
\`file:PATH\` secret names), on \`SIGHUP\` (which ends \`demo\`, and a gateway that was started on a terminal), and on
\`POST /gateway/reload\`; \`?dry_run=true\` only answers what would become different. Flags and environment stay as they were at the start:
no process sees new variables. The whole is checked as at a start. When anything is wrong the old configuration stays in force, and log,
\`/gateway/status\` and the answer (422 \`config_invalid\`) say every problem. Requests that wait or run keep what they were accepted under;
waiting requests of a removed model end with \`model_not_found\`. The column *Reload*:

- **live**: holds at once, for whatever is decided from then on.
- **drain**: makes another engine of the models that it changes. Their engines end what they run (\`limits.drain_timeout\`) and leave; new
  ones are started when somebody asks, or at once with \`always_on\`.
- **restart**: stays as it is until the gateway is started anew, with a warning (\`needs_restart\`).`;

/** Of the machine; the image has them where its volumes are. */
const HUB_FOLDERS: Readonly<Record<string, string>> = {
  HF_HOME: 'Folder of the model cache and the token; ~/.cache/huggingface.',
  HF_HUB_CACHE: 'The model cache alone; hub below HF_HOME.',
  HF_TOKEN_PATH: 'File of the token; token below HF_HOME.',
};

export function configurationPage(): string {
  const rules = SECTION_RULES;
  return page(
    'Configuration',
    RULES,
    RELOAD,
    ...Object.entries(plainSections).flatMap(([name, group]) => section(name, group, ruleAt(name))),
    '## `auth`',
    '`none`, or a mapping with `keys`, a list of:',
    keyTable(authKeyKeys, rules.auth),
    '## `devices`',
    keyTable(deviceKeys, rules.devices),
    'Entries of `devices.list`, for the probes `static` and `simulated`; with another probe they change with a restart:',
    keyTable(deviceEntryKeys, rules.devices.list),
    '## `drivers`',
    keyTable({ default: driverDefaultKey }, rules.drivers),
    ...Object.entries(driverSections).flatMap(([name, group]) =>
      section(`drivers.${name}`, group, ruleAt('drivers', name)),
    ),
    '## `pools`',
    'Names of pools, each with a list of device UUIDs or ids of `devices.list`. Once there are pools, every model that takes device memory names one. ' +
      'A reload changes them at once, for what is started from then on.',
    '## `models` and `defaults`',
    'Under `models` each key is a name that clients ask for. `defaults` takes the same keys, but for `repo` and `aliases`.',
    keyTable(modelKeys, MODEL_RULES),
    '## Environment without a key',
    variables(OTHER_VARIABLES),
    '## Environment of OpenTelemetry',
    'Read as its specification says. A `telemetry` key in the file goes before a variable.',
    variables(TRACE_VARIABLES),
    '## Environment of the model hub',
    'The names that the tools of the hub use as well.',
    variables({ ...HUB_VARIABLES, ...HUB_FOLDERS }),
    '## Environment that sets nothing any more',
    'Variables of the predecessor; each one is named in a warning.',
    variables(RETIRED),
  );
}

type Rule = ReloadRule | RuleTree;

function ruleAt(...path: readonly string[]): Rule {
  return path.reduce((tree: Rule, name) => below(tree, name), SECTION_RULES);
}

/** What holds for a group holds for each of its keys. */
function below(rule: Rule, name: string): Rule {
  if (typeof rule === 'string') return rule;
  const found = rule[name];
  if (found === undefined) throw new Error(`no rule for ${name}`);
  return found;
}

function section(name: string, group: Group<Keys>, rule: Rule): readonly string[] {
  return [`## \`${name}\``, group.about, keyTable(group.keys, rule)];
}

function keyTable(keys: Keys, rule: Rule): string {
  return table(['Key', 'Default', 'Allowed', 'Environment', 'Reload', 'Meaning'], rowsOf(keys, '', rule));
}

function rowsOf(keys: Keys, prefix: string, rule: Rule): readonly (readonly string[])[] {
  return Object.entries(keys).flatMap(([name, entry]) =>
    entry.kind === 'group'
      ? rowsOf(entry.keys, `${prefix}${name}.`, below(rule, name))
      : [row(prefix + name, entry, below(rule, name))],
  );
}

function row(name: string, key: Key<unknown>, rule: Rule): readonly string[] {
  const { allows } = key.reader;
  return [code(name), fallbackOf(key), short(allows), key.env.map(code).join('\n'), String(rule), key.about];
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
