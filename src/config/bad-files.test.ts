/** Broken and doubtful files, one by one, with every line that `check` prints for them. */
import { describe, expect, it } from 'vitest';
import { load, type FileContent } from '../../test/support/load-config.ts';

const EXTERNAL = 'models: { m: { repo: a/b, url: "http://127.0.0.1:8000" } }\n';
const PROCESS = 'drivers: { default: process }\ndevices: { probe: none }\n';
const LISTED =
  'drivers: { default: process }\n' +
  'devices: { probe: static, list: [{ id: g0, memory: 24GiB }, { id: g1, memory: 24GiB }] }\n' +
  'defaults: { max_model_len: 4096 }\n';

interface Case {
  readonly title: string;
  readonly file: FileContent;
  /** The gateway starts in spite of it. */
  readonly starts: boolean;
  readonly problems: readonly string[];
}

const CASES: readonly Case[] = [
  {
    title: 'an empty file',
    file: ``,
    starts: false,
    problems: [
      `error gateway.yaml: is empty; allowed: a mapping with models, such as "models: {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}"`,
    ],
  },
  {
    title: 'a file of comments',
    file: `# nothing
`,
    starts: false,
    problems: [
      `error gateway.yaml: is empty; allowed: a mapping with models, such as "models: {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}"`,
    ],
  },
  {
    title: 'a list at the top',
    file: `- a
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:1: holds a list at the top; allowed: a mapping with keys such as models, defaults and limits`,
    ],
  },
  {
    title: 'text at the top',
    file: `hello
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:1: holds text at the top; allowed: a mapping with keys such as models, defaults and limits`,
    ],
  },
  {
    title: 'a tab as indentation',
    file: `models:
\tm: 1
`,
    starts: false,
    problems: [`error gateway.yaml:2:1: a tab is used for indentation; YAML allows only spaces there`],
  },
  {
    title: 'a key written twice',
    file: `${EXTERNAL}limits:
  max_turn: 1s
  max_turn: 2s
`,
    starts: false,
    problems: [`error gateway.yaml:4:3: limits.max_turn: is written twice, first on line 3; keep one of them`],
  },
  {
    title: 'a brace that is never closed',
    file: `models: {m: {repo: a/b
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:1: a "{" above is not closed (Flow map in block collection must be sufficiently indented and end with a })`,
    ],
  },
  {
    title: 'two documents',
    file: `${EXTERNAL}---
${EXTERNAL}`,
    starts: false,
    problems: [`error gateway.yaml:2:1: a second document begins here ("---"); one file holds one document`],
  },
  {
    title: 'an alias without an anchor',
    file: `${EXTERNAL}limits: *x
`,
    starts: false,
    problems: [`error gateway.yaml:2:9: limits: this alias (*name) has no anchor (&name) above it`],
  },
  {
    title: 'a tag that would run code',
    file: `${EXTERNAL}limits: !!js/function "x"
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:9: this tag is not known; allowed: no tags, values have the types of plain YAML (Unresolved tag: tag:yaml.org,2002:js/function)`,
    ],
  },
  {
    title: 'broken indentation',
    file: `models:
  m:
    repo: a/b
   x: 1
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:1: the indentation does not match the lines around it (All mapping items must start at the same column)`,
    ],
  },
  {
    title: 'a colon in plain text',
    file: `models:
  m:
    repo: a: b
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:11: a mapping begins in the middle of a line; put it on a line of its own, or put text that holds ": " in quotes`,
    ],
  },
  {
    title: 'an alias inside its own anchor',
    file: `${EXTERNAL}limits: &a { x: *a }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:14: limits.x: unknown key; allowed here: max_queue_size, max_concurrent, max_models_concurrent, queue_timeout, max_turn, min_residency, drain_timeout, max_buffered_bytes`,
      `error gateway.yaml:2:17: limits.x: this alias stands inside its own anchor`,
    ],
  },
  {
    title: 'aliases that multiply without end',
    file: `x-a: &a [1,1,1,1,1,1,1,1,1,1]
x-b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]
x-c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]
x-d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]
x-e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]
models: { m: { repo: a/b, metadata: { x: *e } } }
`,
    starts: false,
    problems: [`error gateway.yaml:6:9: models: aliases expand the file to more than 100000 values`],
  },
  {
    title: 'seventy nested lists',
    file: `${EXTERNAL}limits: ${'['.repeat(70)}${']'.repeat(70)}\n`,
    starts: false,
    problems: [
      `error gateway.yaml:2:9: limits: a list is not a mapping; allowed: a mapping`,
      `error gateway.yaml:2:72: limits[0][0][0][0][0][0][0][0][0][0][0]…: is nested too deeply; allowed: at most 64 levels`,
    ],
  },
  {
    title: 'a misspelt section',
    file: `${EXTERNAL}limts: {}
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:1: limts: unknown key; allowed here: server, log, limits, timeouts, retry, memory, auth, devices, drivers, pools, defaults, models; did you mean "limits"?`,
    ],
  },
  {
    title: 'a misspelt key',
    file: `${EXTERNAL}limits:
  max_queue_sze: 5
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:3: limits.max_queue_sze: unknown key; allowed here: max_queue_size, max_concurrent, max_models_concurrent, queue_timeout, max_turn, min_residency, drain_timeout, max_buffered_bytes; did you mean "max_queue_size"?`,
    ],
  },
  {
    title: 'a key in the wrong case',
    file: `${EXTERNAL}limits: { Max_Queue_Size: 5 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:11: limits.Max_Queue_Size: unknown key; allowed here: max_queue_size, max_concurrent, max_models_concurrent, queue_timeout, max_turn, min_residency, drain_timeout, max_buffered_bytes; did you mean "max_queue_size"?`,
    ],
  },
  {
    title: 'a key in the wrong section',
    file: `${EXTERNAL}server: { max_turn: 5 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:11: server.max_turn: unknown key; it belongs under limits; allowed here: listen, admin_listen, allowed_hosts, cors_origins, max_body_size, keepalive, workers, shutdown_timeout, on_shutdown, state_dir`,
    ],
  },
  {
    title: 'a misspelt key of a model',
    file: `${PROCESS}models:
  m:
    repo: a/b
    max_modl_len: 5
`,
    starts: false,
    problems: [`error gateway.yaml:6:5: models.m.max_modl_len: unknown key; did you mean "max_model_len"?`],
  },
  {
    title: 'no models at all',
    file: `limits: { max_queue_size: 5 }
`,
    starts: false,
    problems: [
      `error gateway.yaml: models: is missing; allowed: at least one model, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}`,
      `warning gateway.yaml:1:27: limits.max_queue_size: 5 is smaller than limits.max_concurrent, 50: a burst of one replica's size is refused`,
    ],
  },
  {
    title: 'models without a value',
    file: `models:
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:8: models: null is not a mapping; allowed: a mapping from names to models, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}`,
    ],
  },
  {
    title: 'models as an empty mapping',
    file: `models: {}
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:1: models: is empty; allowed: at least one model, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}`,
    ],
  },
  {
    title: 'models as a list',
    file: `models: [a]
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:9: models: a list is not a mapping; allowed: a mapping from names to models, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}`,
    ],
  },
  {
    title: 'a model that is only text',
    file: `models: { m: a/b }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:14: models.m: "a/b" is not a mapping; allowed: a mapping with at least repo, such as {repo: meta-llama/Llama-3.1-8B-Instruct}`,
    ],
  },
  {
    title: 'a model without a value',
    file: `${PROCESS}models:
  m:
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:5: models.m: null is not a mapping; allowed: a mapping with at least repo, such as {repo: meta-llama/Llama-3.1-8B-Instruct}`,
    ],
  },
  {
    title: 'a model without repo',
    file: `${PROCESS}models: { m: { dtype: auto } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:14: models.m.repo: is missing; allowed: a Hugging Face id such as meta-llama/Llama-3.1-8B-Instruct, or a path`,
    ],
  },
  {
    title: 'a blank repo',
    file: `${PROCESS}models: { m: { repo: " " } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:22: models.m.repo: " " is blank; allowed: a Hugging Face id such as Qwen/Qwen3-8B, or a path`,
    ],
  },
  {
    title: 'a repo that is an option',
    file: `${PROCESS}models: { m: { repo: --host } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:22: models.m.repo: "--host" begins with "-", which an engine would read as an option; allowed: any other name`,
    ],
  },
  {
    title: 'a repo that is a number',
    file: `${PROCESS}models: { m: { repo: 5 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:22: models.m.repo: 5 is not text; allowed: a Hugging Face id such as Qwen/Qwen3-8B, or a path; put it in quotes`,
    ],
  },
  {
    title: 'zero where at least one is needed',
    file: `${EXTERNAL}limits: { max_queue_size: 0 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: 0 is out of range; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a negative number',
    file: `${EXTERNAL}limits: { max_queue_size: -1 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: -1 is out of range; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a fraction of a request',
    file: `${EXTERNAL}limits: { max_queue_size: 1.5 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: 1.5 is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a number in quotes',
    file: `${EXTERNAL}limits: { max_queue_size: "50" }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: "50" is text, not a number; remove the quotes; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a word for a number',
    file: `${EXTERNAL}limits: { max_queue_size: many }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: "many" is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a huge number',
    file: `${EXTERNAL}limits: { max_queue_size: 1e9 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: 1000000000 is out of range; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a number that is none',
    file: `${EXTERNAL}limits: { max_queue_size: .nan }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: NaN is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'null for a number',
    file: `${EXTERNAL}limits: { max_queue_size: null }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: null is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a switch for a number',
    file: `${EXTERNAL}limits: { max_queue_size: true }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: true is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a list for a number',
    file: `${EXTERNAL}limits: { max_queue_size: [1] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_queue_size: a list is not a whole number; allowed: a whole number from 1 to 10000`,
    ],
  },
  {
    title: 'a word near auto',
    file: `${EXTERNAL}limits: { max_concurrent: automatic }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: limits.max_concurrent: "automatic" is not a whole number; allowed: a whole number from 1 to 10000, or auto = the model's max_num_seqs`,
    ],
  },
  {
    title: 'more models than can be meant',
    file: `${EXTERNAL}limits: { max_models_concurrent: 101 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:34: limits.max_models_concurrent: 101 is out of range; allowed: a whole number from 1 to 100`,
    ],
  },
  {
    title: 'a duration of two units',
    file: `${EXTERNAL}limits: { queue_timeout: 1h30 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: limits.queue_timeout: "1h30" is not a duration; allowed: a duration such as 30s, 5m, 1h or 250ms (a bare number is seconds), from 1ms to 24d`,
    ],
  },
  {
    title: 'a negative duration',
    file: `${EXTERNAL}limits: { queue_timeout: -1s }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: limits.queue_timeout: "-1s" is negative; allowed: a duration such as 30s, 5m, 1h or 250ms (a bare number is seconds), from 1ms to 24d`,
    ],
  },
  {
    title: 'a duration of zero where zero means nothing',
    file: `${EXTERNAL}limits: { queue_timeout: 0 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: limits.queue_timeout: 0 is out of range; allowed: a duration such as 30s, 5m, 1h or 250ms (a bare number is seconds), from 1ms to 24d`,
    ],
  },
  {
    title: 'a duration longer than timers',
    file: `${EXTERNAL}limits: { queue_timeout: 60d }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: limits.queue_timeout: "60d" is out of range; allowed: a duration such as 30s, 5m, 1h or 250ms (a bare number is seconds), from 1ms to 24d`,
    ],
  },
  {
    title: 'a size without a unit',
    file: `${EXTERNAL}server: { max_body_size: 64 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: server.max_body_size: 64 has no unit; allowed: a size such as 24GiB or 512MiB, from 1KiB to 4GiB; write 64GiB or 64MiB`,
    ],
  },
  {
    title: 'a size with an invented unit',
    file: `${EXTERNAL}server: { max_body_size: 64 megs }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: server.max_body_size: "64 megs" is not a size; allowed: a size such as 24GiB or 512MiB, from 1KiB to 4GiB`,
    ],
  },
  {
    title: 'a size out of range',
    file: `${EXTERNAL}server: { max_body_size: 10GiB }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: server.max_body_size: "10GiB" is out of range; allowed: a size such as 24GiB or 512MiB, from 1KiB to 4GiB`,
    ],
  },
  {
    title: 'a misspelt driver',
    file: `${EXTERNAL}drivers: { default: dockr }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:21: drivers.default: "dockr" is not allowed; allowed: one of docker, process, external; did you mean "docker"?`,
    ],
  },
  {
    title: 'a driver of a later release',
    file: `${EXTERNAL}drivers: { default: kubernetes }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:21: drivers.default: "kubernetes" is not supported in this version; allowed: one of docker, process, external`,
    ],
  },
  {
    title: 'settings of a driver of a later release',
    file: `${EXTERNAL}drivers: { kubernetes: {} }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:12: drivers.kubernetes: the Kubernetes driver is not supported in this version; remove the key`,
    ],
  },
  {
    title: 'replicas, a key of a later release',
    file: `${PROCESS}models:
  m:
    repo: a/b
    replicas: 2
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:5: models.m.replicas: several replicas of a model are not supported in this version; remove the key`,
    ],
  },
  {
    title: 'sleep, a key of a later release',
    file: `${PROCESS}models:
  m:
    repo: a/b
    sleep: true
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:5: models.m.sleep: sleeping engines are not supported in this version; remove the key`,
    ],
  },
  {
    title: 'limits per key, of a later release',
    file: `${EXTERNAL}auth: { keys: [{ id: a, key: b, limits: {} }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:33: auth.keys[0].limits: limits per key are not supported in this version; remove the key`,
    ],
  },
  {
    title: 'a listener that is no address',
    file: `${EXTERNAL}server: { listen: nowhere }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:19: server.listen: "nowhere" is not an address to listen on; allowed: HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000`,
    ],
  },
  {
    title: 'a port beyond the last one',
    file: `${EXTERNAL}server: { listen: 127.0.0.1:99999 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:19: server.listen: "127.0.0.1:99999" is not an address to listen on; allowed: HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000`,
    ],
  },
  {
    title: 'an open listener without keys',
    file: `${EXTERNAL}server: { listen: 0.0.0.0:9000 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:19: server.listen: 0.0.0.0:9000 is reachable from other machines, and there are no keys; set GATEWAY_API_KEYS or auth.keys, or listen on 127.0.0.1, or say auth: none (GATEWAY_AUTH=none) if everyone may use it`,
    ],
  },
  {
    title: 'two listeners on one address',
    file: `${EXTERNAL}server: { listen: 127.0.0.1:9000, admin_listen: 127.0.0.1:9000 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:49: server.admin_listen: is the same address as server.listen; allowed: another port, or null`,
    ],
  },
  {
    title: 'several workers',
    file: `${EXTERNAL}server: { workers: 4 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:20: server.workers: several workers are not supported in this version; allowed: 1`,
    ],
  },
  {
    title: 'an origin without a scheme',
    file: `${EXTERNAL}server: { cors_origins: [chat.example.org] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:26: server.cors_origins[0]: "chat.example.org" is not an origin; allowed: scheme and host only, such as https://chat.example.org, or "*"`,
    ],
  },
  {
    title: 'a URL for a host name',
    file: `${EXTERNAL}server: { allowed_hosts: ["http://x"] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:27: server.allowed_hosts[0]: "http://x" is not a host name; allowed: a name without scheme or port, such as gpu-box.lan`,
    ],
  },
  {
    title: 'an unknown word for auth',
    file: `${EXTERNAL}auth: off
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:7: auth: "off" is not allowed; allowed: none, or a mapping with keys: [{id, key, roles, models}]`,
    ],
  },
  {
    title: 'an empty list of keys',
    file: `${EXTERNAL}auth: { keys: [] }
`,
    starts: false,
    problems: [`error gateway.yaml:2:15: auth.keys: holds no key; write at least one {id, key}, or auth: none`],
  },
  {
    title: 'a key entry without its key',
    file: `${EXTERNAL}auth: { keys: [{ id: a }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:16: auth.keys[0].key: is missing; allowed: the key: plain, \${NAME}, file:PATH or sha256:HEX`,
    ],
  },
  {
    title: 'the same key twice',
    file: `${EXTERNAL}auth: { keys: [{ id: a, key: k }, { id: a, key: k }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:41: auth.keys[1].id: "a" is already the id of auth.keys[0]; ids are unique`,
      `error gateway.yaml:2:49: auth.keys[1].key: is the same key as auth.keys[0]; one key has one id`,
    ],
  },
  {
    title: 'a digest that is too short',
    file: `${EXTERNAL}auth: { keys: [{ id: a, key: "sha256:12" }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:30: auth.keys[0].key: "sha256:" must be followed by 64 hexadecimal digits, as \`printf %s KEY | sha256sum\` prints them`,
    ],
  },
  {
    title: 'a key file that is not there',
    file: `${EXTERNAL}auth: { keys: [{ id: a, key: "file:/nope" }] }
`,
    starts: false,
    problems: [`error gateway.yaml:2:30: auth.keys[0].key: the file /nope does not exist`],
  },
  {
    title: 'an unknown role',
    file: `${EXTERNAL}auth: { keys: [{ id: a, key: k, roles: [root] }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:41: auth.keys[0].roles[0]: "root" is not allowed; allowed: one of inference, admin, metrics`,
    ],
  },
  {
    title: 'a key for a model that is not there',
    file: `models: { llama: { repo: a/b, url: "http://h:1" } }
auth: { keys: [{ id: a, key: k, models: [lama] }] }
`,
    starts: true,
    problems: [`warning gateway.yaml:2:42: auth.keys[0].models[0]: "lama" matches no model; did you mean "llama"?`],
  },
  {
    title: 'a variable that is not set',
    file: `${PROCESS}models:
  m:
    repo: a/b
    description: \${NOPE}
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.description: the variable NOPE is not set; set it, or write a default as \${NOPE:-value}, or $\${NOPE} for the literal text`,
    ],
  },
  {
    title: 'an engine template outside a command',
    file: `${PROCESS}models:
  m:
    repo: a/b
    description: \${port}
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.description: \${port} is an engine template, allowed only in command, env and health_path; variables are upper-case, and "$\${" is a literal`,
    ],
  },
  {
    title: 'a misspelt engine template',
    file: `${PROCESS}models:
  m:
    repo: a/b
    command: [x, "\${prt}"]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.command[1]: \${prt} is not an engine template; allowed: \${port}, \${host}, \${model}, \${repo}, \${devices}; did you mean "\${port}"?`,
    ],
  },
  {
    title: 'a variable that is not closed',
    file: `${PROCESS}models:
  m:
    repo: a/b
    description: "\${NOPE"
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.description: "\${" is not closed; write "}" behind the name, or "$\${" for a literal`,
    ],
  },
  {
    title: 'a variable that cannot exist',
    file: `${PROCESS}models:
  m:
    repo: a/b
    description: "\${9a}"
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.description: "\${9a}" names no variable; allowed: upper-case letters, digits and "_" as in \${NAME} or \${NAME:-default}; "$\${" is a literal`,
    ],
  },
  {
    title: 'a variable inside another one',
    file: `${PROCESS}models:
  m:
    repo: a/b
    description: "\${A:-\${B}}"
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.description: \${…} may not stand inside another one; allowed: \${NAME} or \${NAME:-default}`,
    ],
  },
  {
    title: 'a model name that is an option',
    file: `${PROCESS}models: { "-m": { repo: a/b } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:11: models["-m"]: the name "-m" begins with "-", which an engine would read as an option; allowed: any other name`,
    ],
  },
  {
    title: 'a model name with a line break',
    file: `${PROCESS}models: { "a\\nb": { repo: a/b } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:3:11: models["a\\nb"]: the name "a\\nb" holds a control character; allowed: a name without control characters, up to 256 characters`,
    ],
  },
  {
    title: 'a model name that is too long',
    file: `${PROCESS}models: { ${'x'.repeat(257)}: { repo: a/b } }\n`,
    starts: false,
    problems: [
      `error gateway.yaml:3:11: models.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: the name is 257 characters long; allowed: at most 256 characters`,
    ],
  },
  {
    title: 'one alias for two models',
    file: `${PROCESS}models:
  a: { repo: a/b, aliases: [x] }
  b: { repo: a/b, aliases: [x] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:5:29: models.b.aliases[0]: "x" is already an alias of "a"; an alias means one model: remove one of them`,
    ],
  },
  {
    title: 'aliases that go in a circle',
    file: `${PROCESS}models:
  a: { repo: a/b, aliases: [b] }
  b: { repo: a/b, aliases: [a] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:29: models.a.aliases[0]: "b" is the name of a model; a name means one model: rename one of them`,
      `error gateway.yaml:5:29: models.b.aliases[0]: "a" is the name of a model; a name means one model: rename one of them`,
    ],
  },
  {
    title: 'an alias that is the name itself',
    file: `${PROCESS}models: { a: { repo: a/b, aliases: [a] } }
`,
    starts: false,
    problems: [`error gateway.yaml:3:37: models.a.aliases[0]: "a" is the model's own name; remove it`],
  },
  {
    title: 'owned flags in four spellings',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: [--port=8000, --served_model_name, x, -tp, "2", --gpu-mem, 0.5]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.extra_args[0]: --port belongs to the gateway: the gateway chooses where engines listen`,
      `error gateway.yaml:6:31: models.m.extra_args[1]: --served-model-name belongs to the gateway: the gateway names the model; further names are the key aliases`,
      `error gateway.yaml:6:55: models.m.extra_args[3]: -tp (short for --tensor-parallel-size) belongs to the gateway: use the key tensor_parallel_size`,
      `error gateway.yaml:6:65: models.m.extra_args[5]: --gpu-mem (short for --gpu-memory-utilization) belongs to the gateway: use the key gpu_memory_utilization or memory`,
    ],
  },
  {
    title: 'a flag that budget mode owns',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: [--max-model-len, 4096]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.extra_args[0]: --max-model-len belongs to the gateway: use the key max_model_len`,
    ],
  },
  {
    title: 'a flag of an owned family',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: [--ssl-keyfile, x]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.extra_args[0]: --ssl-keyfile belongs to the gateway: the gateway speaks plain HTTP to engines`,
    ],
  },
  {
    title: 'arguments as text',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: --enable-x
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:17: models.m.extra_args: "--enable-x" is not a list; allowed: a list, each entry one argument, such as --enable-prefix-caching; write ["--enable-x"]`,
    ],
  },
  {
    title: 'JSON without quotes',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: [--x, {a: 1}]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:23: models.m.extra_args[1]: a mapping is not text; allowed: one argument, such as --enable-prefix-caching; put JSON in quotes`,
    ],
  },
  {
    title: 'an argument that is no flag',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: [foo]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.extra_args[0]: "foo" is not a flag; allowed: a list that begins with a flag, such as [--max-num-batched-tokens, 4096]`,
    ],
  },
  {
    title: 'a flag and its value in one entry',
    file: `${PROCESS}models:
  m:
    repo: a/b
    extra_args: ["--max-num-batched-tokens 4096"]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.extra_args[0]: "--max-num-batched-tokens 4096" holds a flag and its value in one; write two entries, as in [--flag, value]`,
    ],
  },
  {
    title: 'a model among the request defaults',
    file: `${PROCESS}models:
  m:
    repo: a/b
    request_defaults: { model: x }
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:32: models.m.request_defaults.model: "model" may not be set: the model is what the client asks for; remove it`,
    ],
  },
  {
    title: 'a number that JSON has not',
    file: `${PROCESS}models:
  m:
    repo: a/b
    request_defaults: { top_p: .inf }
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:32: models.m.request_defaults.top_p: Infinity does not exist in JSON; allowed: any JSON value`,
    ],
  },
  {
    title: 'request defaults as a list',
    file: `${PROCESS}models:
  m:
    repo: a/b
    request_defaults: [1]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:23: models.m.request_defaults: a list is not a mapping; allowed: a mapping of request fields`,
    ],
  },
  {
    title: 'a share above one',
    file: `${PROCESS}models:
  m:
    repo: a/b
    gpu_memory_utilization: 1.5
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:29: models.m.gpu_memory_utilization: 1.5 is out of range; allowed: a number above 0 and up to 1`,
    ],
  },
  {
    title: 'a share of zero',
    file: `${PROCESS}models:
  m:
    repo: a/b
    gpu_memory_utilization: 0
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:29: models.m.gpu_memory_utilization: 0 is out of range; allowed: a number above 0 and up to 1`,
    ],
  },
  {
    title: 'a switch for a length',
    file: `${PROCESS}models:
  m:
    repo: a/b
    max_model_len: true
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:20: models.m.max_model_len: true is not a whole number; allowed: a whole number from 0 to 100000000; 0 = the native length`,
    ],
  },
  {
    title: 'a switch in quotes',
    file: `${PROCESS}models:
  m:
    repo: a/b
    colocate: "true"
`,
    starts: false,
    problems: [`error gateway.yaml:6:15: models.m.colocate: "true" is not a switch; allowed: true or false`],
  },
  {
    title: 'yes for a switch',
    file: `${PROCESS}models:
  m:
    repo: a/b
    always_on: yes
`,
    starts: false,
    problems: [`error gateway.yaml:6:16: models.m.always_on: "yes" is not a switch; allowed: true or false`],
  },
  {
    title: 'no sequences',
    file: `${PROCESS}models:
  m:
    repo: a/b
    max_num_seqs: 0
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:19: models.m.max_num_seqs: 0 is out of range; allowed: a whole number from 1 to 100000`,
    ],
  },
  {
    title: 'a reservation for no sequences',
    file: `${PROCESS}models:
  m:
    repo: a/b
    kv_reservation_seqs: 0
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:26: models.m.kv_reservation_seqs: 0 is out of range; allowed: a whole number from 1 to 100000`,
    ],
  },
  {
    title: 'pools as an empty mapping',
    file: `${LISTED}pools: {}
models: { m: { repo: a/b, pool: x } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:8: pools: is empty; allowed: at least one pool, such as {fast: [GPU-UUID]}, or no pools at all`,
    ],
  },
  {
    title: 'a pool without devices',
    file: `${LISTED}pools: { p: [] }
models: { m: { repo: a/b, pool: p } }
`,
    starts: false,
    problems: [`error gateway.yaml:4:13: pools.p: the list is empty; allowed: at least one entry`],
  },
  {
    title: 'a blank device',
    file: `${LISTED}pools: { p: [" "] }
models: { m: { repo: a/b, pool: p } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:14: pools.p[0]: " " is blank; allowed: the UUID of a device, or an id of devices.list`,
    ],
  },
  {
    title: 'a device in two pools',
    file: `${LISTED}pools: { p: [g0], q: [g0] }
models: { m: { repo: a/b, pool: p } }
`,
    starts: false,
    problems: [`error gateway.yaml:4:23: pools.q[0]: "g0" is already in pool "p"; a device belongs to one pool`],
  },
  {
    title: 'a model without a pool beside pools',
    file: `${LISTED}pools: { p: [g0] }
models: { m: { repo: a/b } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:5:14: models.m.pool: is missing; once there are pools every model names one; allowed: p`,
    ],
  },
  {
    title: 'a misspelt pool',
    file: `${LISTED}pools: { fast: [g0] }
models: { m: { repo: a/b, pool: fats } }
`,
    starts: false,
    problems: [`error gateway.yaml:5:33: models.m.pool: "fats" is not a pool; allowed: fast; did you mean "fast"?`],
  },
  {
    title: 'a pool of an unknown device',
    file: `${LISTED}pools: { p: [g2] }
models: { m: { repo: a/b, pool: p } }
`,
    starts: false,
    problems: [`error gateway.yaml:4:14: pools.p[0]: "g2" is not in devices.list; allowed: g0, g1; did you mean "g0"?`],
  },
  {
    title: 'tensor parallel beyond the pool',
    file: `${LISTED}pools: { p: [g0] }
models: { m: { repo: a/b, pool: p, tensor_parallel_size: 2 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:5:58: models.m.tensor_parallel_size: 2 is more than there are devices: pool "p" has 1; allowed: 1 to 1`,
    ],
  },
  {
    title: 'tensor parallel beyond the devices',
    file: `${LISTED}models: { m: { repo: a/b, tensor_parallel_size: 3 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:49: models.m.tensor_parallel_size: 3 is more than there are devices: devices.list has 2; allowed: 1 to 2`,
    ],
  },
  {
    title: 'co-location with tensor parallel',
    file: `${LISTED}models: { m: { repo: a/b, colocate: true, tensor_parallel_size: 2 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:37: models.m.colocate: may not be true with tensor_parallel_size 2; allowed: tensor_parallel_size 1, or colocate: false`,
    ],
  },
  {
    title: 'a model larger than every budget',
    file: `${LISTED}models: { m: { repo: a/b, memory: 23GiB } }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:4:35: models.m.memory: 23GiB never fits: the largest budget among its devices is 21.6GiB (memory × devices.budget_fraction 0.9); every request for this model would be refused`,
    ],
  },
  {
    title: 'memory without a unit',
    file: `${LISTED}models: { m: { repo: a/b, memory: 20 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:35: models.m.memory: 20 has no unit; allowed: a size such as 24GiB or 512MiB, from 1MiB to 1024TiB; write 20GiB or 20MiB`,
    ],
  },
  {
    title: 'an unknown device of a model',
    file: `${LISTED}models: { m: { repo: a/b, devices: [g3] } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:4:37: models.m.devices[0]: "g3" is not in devices.list; allowed: g0, g1; did you mean "g0"?`,
    ],
  },
  {
    title: 'a static probe without devices',
    file: `${EXTERNAL}devices: { probe: static }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:19: devices.list: is empty, but devices.probe static knows only what it lists; allowed: at least one {id: gpu-0, memory: 24GiB}`,
    ],
  },
  {
    title: 'a device without memory and one that is a number',
    file: `${EXTERNAL}devices: { probe: static, list: [{ id: g0 }, 5] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:34: devices.list[0].memory: is missing; allowed: a size such as 24GiB`,
      `error gateway.yaml:2:46: devices.list[1]: 5 is not a mapping; allowed: a mapping`,
    ],
  },
  {
    title: 'one device twice',
    file: `${EXTERNAL}devices: { probe: static, list: [{ id: g0, memory: 1GiB }, { id: g0, memory: 1GiB }] }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:66: devices.list[1].id: "g0" is already devices.list[0].id; ids and UUIDs are unique`,
    ],
  },
  {
    title: 'devices that nobody reads',
    file: `${EXTERNAL}devices: { list: [{ id: g0, memory: 1GiB }] }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:2:18: devices.list: has no effect with devices.probe auto; only static and simulated read it`,
    ],
  },
  {
    title: 'a URL with a driver that starts engines',
    file: `models: { m: { repo: a/b, driver: docker, url: "http://h:1" } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:35: models.m.driver: is docker, but url is set, which means external; remove one of the two`,
    ],
  },
  {
    title: 'an external model without URL',
    file: `models: { m: { repo: a/b, driver: external } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:14: models.m.url: is missing; an external model needs the address of its server, such as http://10.0.0.5:8000`,
    ],
  },
  {
    title: 'a URL that is not http',
    file: `models: { m: { url: "ftp://h" } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:21: models.m.url: "ftp://h" is not an http URL; allowed: an http or https URL such as http://10.0.0.5:8000`,
    ],
  },
  {
    title: 'a URL with a password',
    file: `models: { m: { url: "http://u:p@h" } }
`,
    starts: false,
    problems: [`error gateway.yaml:1:21: models.m.url: holds a user name or password; write the credential as api_key`],
  },
  {
    title: 'a command with the docker driver',
    file: `models: { m: { repo: a/b, driver: docker, command: [x] } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:52: models.m.command: is set, but the driver is docker: only the process driver runs commands; remove one of the two`,
    ],
  },
  {
    title: 'a server without a command',
    file: `${PROCESS}models:
  m:
    repo: a/b
    engine: openai-compatible
`,
    starts: false,
    problems: [
      `error gateway.yaml:5:5: models.m.command: is missing; engine openai-compatible needs the whole command of the server, such as [llama-server, --port, "\${port}"]`,
    ],
  },
  {
    title: 'a command as text',
    file: `${PROCESS}models:
  m:
    repo: a/b
    command: llama-server --port 1
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:14: models.m.command: "llama-server --port 1" is not a list; allowed: a list, each entry one word of a command; write ["llama-server", "--port", "1"]`,
    ],
  },
  {
    title: 'a URL with a command',
    file: `models: { m: { url: "http://h:1", command: [x] } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:44: models.m.command: is set, but the driver is external: an external server is started by somebody else; remove one of the two`,
    ],
  },
  {
    title: 'routes that stay closed',
    file: `${PROCESS}models:
  m:
    repo: a/b
    routes: [/v1/moderations, /sleep, /v1/load_lora_adapter, /gateway/x, /collective_rpc, /reset_prefix_cache, /start_profile, v1/x]
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:31: models.m.routes[1]: "/sleep" may not be opened to clients: sleep routes stop engines behind the gateway`,
      `error gateway.yaml:6:39: models.m.routes[2]: "/v1/load_lora_adapter" may not be opened to clients: LoRA routes change what an engine serves`,
      `error gateway.yaml:6:62: models.m.routes[3]: "/gateway/x" may not be opened to clients: /gateway is the control plane of the gateway itself`,
      `error gateway.yaml:6:74: models.m.routes[4]: "/collective_rpc" may not be opened to clients: RPC routes run code in the engine`,
      `error gateway.yaml:6:91: models.m.routes[5]: "/reset_prefix_cache" may not be opened to clients: reset routes drop the cache of everyone`,
      `error gateway.yaml:6:112: models.m.routes[6]: "/start_profile" may not be opened to clients: profiling routes slow the engine for everyone`,
      `error gateway.yaml:6:128: models.m.routes[7]: "v1/x" is not a route; allowed: an absolute path of letters, digits, ".", "_", "~" and "-", such as /v1/moderations`,
    ],
  },
  {
    title: 'a health path without a slash',
    file: `${PROCESS}models:
  m:
    repo: a/b
    health_path: health
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:18: models.m.health_path: "health" is not a path; allowed: a path that begins with "/", such as /health`,
    ],
  },
  {
    title: 'a variable name with a dash',
    file: `${PROCESS}models:
  m:
    repo: a/b
    env: { "A-B": 1 }
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:19: models.m.env.A-B: "A-B" is not a variable name; allowed: letters, digits and "_", not beginning with a digit`,
    ],
  },
  {
    title: 'a variable that the gateway sets',
    file: `${PROCESS}models:
  m:
    repo: a/b
    env: { VLLM_API_KEY: x }
`,
    starts: false,
    problems: [
      `error gateway.yaml:6:26: models.m.env.VLLM_API_KEY: VLLM_API_KEY is set by the gateway: the gateway gives every engine a key of its own; remove it`,
    ],
  },
  {
    title: 'a volume of the whole host',
    file: `${PROCESS}models:
  m:
    repo: a/b
    volumes: ["/:/host"]
`,
    starts: false,
    problems: [
      `warning gateway.yaml:6:14: models.m.volumes: has no effect: only the docker driver uses it; the driver is process`,
      `error gateway.yaml:6:15: models.m.volumes[0]: "/:/host" would give an engine the whole host; mount the folder that it needs`,
    ],
  },
  {
    title: 'a volume of the Docker socket',
    file: `${PROCESS}models:
  m:
    repo: a/b
    volumes: ["/var/run/docker.sock:/x"]
`,
    starts: false,
    problems: [
      `warning gateway.yaml:6:14: models.m.volumes: has no effect: only the docker driver uses it; the driver is process`,
      `error gateway.yaml:6:15: models.m.volumes[0]: "/var/run/docker.sock:/x" would give an engine control over Docker; remove it`,
    ],
  },
  {
    title: 'a header that the gateway sets',
    file: `models: { m: { url: "http://h:1", headers: { Host: x } } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:1:52: models.m.headers.Host: Host is set by the gateway for every request; remove it`,
    ],
  },
  {
    title: 'a port range from high to low',
    file: `${EXTERNAL}drivers: { process: { port_range: 30000-20000 } }
`,
    starts: false,
    problems: [
      `error gateway.yaml:2:35: drivers.process.port_range: "30000-20000" is not a port range; allowed: two ports with a dash between them, such as 20000-29999, each from 1 to 65535, the smaller one first`,
    ],
  },
  {
    title: 'an unbounded length on listed devices',
    file: `drivers: { default: process }
devices: { probe: static, list: [{ id: g0, memory: 24GiB }, { id: g1, memory: 24GiB }] }
models: { m: { repo: a/b } }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:3:14: models.m.max_model_len: 0 means the native length of the model, which reserves the whole budget of a device, 21.6GiB, so that no other model fits beside it; set max_model_len, or memory`,
    ],
  },
  {
    title: 'an unbounded length on unknown devices',
    file: `drivers: { default: process }
models: { m: { repo: a/b } }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:2:14: models.m.max_model_len: 0 means the native length of the model, which reserves the whole budget of a device, so that no other model fits beside it; set max_model_len, or memory`,
    ],
  },
  {
    title: 'a queue smaller than the concurrency',
    file: `${EXTERNAL}limits: { max_queue_size: 5 }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:2:27: limits.max_queue_size: 5 is smaller than limits.max_concurrent, 50: a burst of one replica's size is refused`,
    ],
  },
  {
    title: 'a connect timeout above the first byte',
    file: `${EXTERNAL}timeouts: { connect: 400s }
`,
    starts: true,
    problems: [`warning gateway.yaml:2:22: timeouts.connect: 400s is longer than the wait for the first byte, 5m`],
  },
  {
    title: 'half of the heartbeats off',
    file: `${EXTERNAL}server: { keepalive: { after: 0 } }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:2:31: server.keepalive.after: 0 turns heartbeats off altogether; set both to 0, or both above 0`,
    ],
  },
  {
    title: 'a pool without pools',
    file: `${PROCESS}models:
  m:
    repo: a/b
    pool: x
`,
    starts: true,
    problems: [
      `warning gateway.yaml:6:11: models.m.pool: "x" has no effect: the file has no pools; remove it, or add pools`,
    ],
  },
  {
    title: 'a repo for every model',
    file: `${PROCESS}defaults: { repo: x }
models: { m: { repo: a/b } }
`,
    starts: false,
    problems: [`error gateway.yaml:3:13: defaults.repo: belongs to one model, not to defaults; write models.NAME.repo`],
  },
  {
    title: 'an image without docker',
    file: `${PROCESS}models:
  m:
    repo: a/b
    image: x/y:1
`,
    starts: true,
    problems: [
      `warning gateway.yaml:6:12: models.m.image: has no effect: only the docker driver uses it; the driver is process`,
    ],
  },
  {
    title: 'arguments for a server of somebody else',
    file: `models: { m: { url: "http://h:1", extra_args: [--x] } }
`,
    starts: true,
    problems: [
      `warning gateway.yaml:1:47: models.m.extra_args: has no effect on engine openai-compatible; the server is started by somebody else`,
    ],
  },
  {
    title: 'a merge of something that is no mapping',
    file: `${EXTERNAL}limits: { <<: 5 }
`,
    starts: false,
    problems: [`error gateway.yaml:2:9: limits["<<"]: merges something that is not a mapping`],
  },
  {
    title: 'a key that every object has',
    file: `models: { __proto__: { repo: a/b } }
`,
    starts: false,
    problems: [`error gateway.yaml:1:11: models.__proto__: is not a usable name`],
  },
  {
    title: 'a list for a key',
    file: `? [a]
: 1
${EXTERNAL}`,
    starts: false,
    problems: [`error gateway.yaml:1:3: a key must be plain text`],
  },
  {
    title: 'YAML 1.1',
    file: `%YAML 1.1
---
${EXTERNAL}`,
    starts: false,
    problems: [`error gateway.yaml:1:1: asks for YAML 1.1; allowed: YAML 1.2, without a %YAML line`],
  },
  {
    title: 'a folder at the path',
    file: { kind: 'folder' },
    starts: false,
    problems: [
      `error gateway.yaml: is a folder, not a file; Docker creates an empty folder when the file to mount is missing on the host: remove the folder, create the file, and start again`,
    ],
  },
  {
    title: 'a pipe at the path',
    file: { kind: 'other' },
    starts: false,
    problems: [`error gateway.yaml: is not a regular file; allowed: a YAML file`],
  },
  {
    title: 'a file that may not be read',
    file: { code: 'EACCES' },
    starts: false,
    problems: [
      `error gateway.yaml: cannot be read: permission denied; check the owner and mode of the file and its folders`,
    ],
  },
  {
    title: 'a file in Latin-1',
    file: new Uint8Array([97, 10, 98, 228, 10]),
    starts: false,
    problems: [`error gateway.yaml:2:1: is not UTF-8 text; save it as UTF-8`],
  },
  {
    title: 'a file of more than 1 MiB',
    file: 'x'.repeat(2 ** 20 + 1),
    starts: false,
    problems: [`error gateway.yaml: is larger than 1MiB; allowed: a YAML file of at most 1MiB`],
  },
];

describe('a configuration file', () => {
  it.each(CASES)('[items 2, 3, 4] with $title is told as it should be', async ({ file, starts, problems }) => {
    const result = await load(file);
    expect(result.lines).toEqual(problems);
    expect(result.config !== null).toBe(starts);
  });

  it('holds every case once', () => {
    expect(new Set(CASES.map(({ title }) => title)).size).toBe(CASES.length);
    expect(CASES.length).toBeGreaterThanOrEqual(60);
  });

  it('tells everything that is wrong at once, from top to bottom', async () => {
    const result = await load(`limits:
  max_queue_size: 0
  max_turn: soon
log: { level: verbos }
models:
  a: { repo: "", dtype: 5 }
  b: { url: nowhere, replicas: 2 }
`);
    expect(result.problems.map(({ line, path, code }) => [line, path, code])).toEqual([
      [2, 'limits.max_queue_size', 'out_of_range'],
      [3, 'limits.max_turn', 'wrong_type'],
      [4, 'log.level', 'not_allowed'],
      [6, 'models.a.max_model_len', 'unbounded_length'],
      [6, 'models.a.repo', 'not_allowed'],
      [6, 'models.a.dtype', 'wrong_type'],
      [7, 'models.b.url', 'not_allowed'],
      [7, 'models.b.replicas', 'unsupported'],
    ]);
  });

  it('is read with a byte order mark and with Windows line ends', async () => {
    for (const file of [`\ufeff${EXTERNAL}`, EXTERNAL.replaceAll('\n', '\r\n')]) {
      const result = await load(file);
      expect(result.lines).toEqual([]);
      expect([...(result.config?.models.keys() ?? [])]).toEqual(['m']);
    }
  });

  it('is free to use x-* keys, anchors and merges', async () => {
    const result = await load(`x-common: &common { url: "http://127.0.0.1:8000", max_queue_size: 70 }
models:
  a: { <<: *common, repo: a/b }
  b:
    <<: [*common, { max_queue_size: 80, unlisted: true }]
    repo: c/d
    max_concurrent: 5
`);
    expect(result.lines).toEqual([]);
    const { config } = result;
    expect(config?.models.get('a')).toMatchObject({ url: 'http://127.0.0.1:8000', maxQueueSize: 70, unlisted: false });
    expect(config?.models.get('b')).toMatchObject({ maxQueueSize: 70, unlisted: true, maxConcurrent: 5 });
  });

  it('points at the value behind an alias, where it has to be changed', async () => {
    const result = await load(`x-limits: &limits\n  max_queue_size: 0\nlimits: *limits\n${EXTERNAL}`);
    expect(result.problems.map(({ line, path }) => [line, path])).toEqual([[2, 'limits.max_queue_size']]);
  });

  it('takes a section whose keys are all commented out for an absent one', async () => {
    const result = await load(`limits:\n  # max_queue_size: 5\ndefaults:\n${EXTERNAL}`);
    expect(result.lines).toEqual([]);
    expect(result.config?.limits.maxQueueSize).toBe(200);
  });

  it('keeps its models in the order written, numbers included', async () => {
    const model = '{ repo: a/b, url: "http://127.0.0.1:1" }';
    const result = await load(`models: { zeta: ${model}, "10": ${model}, "9": ${model}, alpha: ${model} }`);
    expect([...(result.config?.models.keys() ?? [])]).toEqual(['zeta', '10', '9', 'alpha']);
  });

  it('takes names that every object has for what they are', async () => {
    const model = '{ repo: a/b, url: "http://127.0.0.1:1" }';
    const result = await load(
      `models: { constructor: ${model}, toString: ${model} }\nlimits: { valueOf: 1 }\nlog: { format: constructor }`,
    );
    expect(result.problems.map(({ path, code }) => [path, code])).toEqual([
      ['limits.valueOf', 'unknown_key'],
      ['log.format', 'not_allowed'],
    ]);
  });

  it('never shows a secret, not even a broken one', async () => {
    const result = await load(`auth: { keys: [{ id: a, key: 918273645 }, { id: b, key: "918273645\\n1" }] }
models: { m: { url: "http://u:918273645@h:1", api_key: 918273645, headers: { x: [918273645] } } }`);
    expect(result.config).toBeNull();
    expect(JSON.stringify(result.problems)).not.toContain('918273645');
  });
});
