/** docker-compose.yml and examples/portainer.yml: every variable that the program reads, with its default. */
import { TRACE_VARIABLES } from '../../src/config/telemetry-settings.ts';
import { boundKeys, OTHER_VARIABLES, type BoundKey } from '../../src/config/environment.ts';
import { MIB, parseDuration, parseSize, SECOND } from '../../src/units.ts';
import { GENERATED_YAML } from './markdown.ts';

/** What the image says otherwise than the schema. */
const IMAGE_DEFAULTS: Readonly<Record<string, string>> = {
  GATEWAY_LISTEN: '0.0.0.0:9000',
  GATEWAY_STATE_DIR: '/app/data',
  GATEWAY_AUTH: 'none',
  MODELS_CONFIG_FILE: '/app/config/models.yaml',
};

/** Variables of the libraries and tools around the models, which the gateway reads too. */
export const HUB_VARIABLES: Readonly<Record<string, string>> = {
  HF_TOKEN: 'Token of the model hub; only engines that need it get it.',
  HUGGING_FACE_HUB_TOKEN: 'The same by its older name.',
  HF_ENDPOINT: 'Address of the model hub; empty = huggingface.co.',
  HF_HUB_OFFLINE: '1 = ask the hub for nothing.',
  HTTPS_PROXY: 'Proxy for the hub, as seen from the gateway.',
  HTTP_PROXY: 'The same, where HF_ENDPOINT is no https address.',
  NO_PROXY: 'Hosts that are reached without it.',
};

/** Read by the command line, on whatever machine it runs: the one of the host would be wrong inside the container. */
const NOT_FOR_THE_CONTAINER: ReadonlySet<string> = new Set(['GATEWAY_URL']);

const GROUPS: Readonly<Record<string, string>> = {
  server: 'Listeners and shutdown',
  log: 'Log',
  limits: 'Queues and concurrency',
  timeouts: 'Time limits of an answer',
  retry: 'Retries of connections to engines',
  devices: 'GPUs',
  memory: 'GPU memory',
  telemetry: 'Traces',
  drivers: 'Engines in containers',
};

interface Variable {
  readonly name: string;
  readonly fallback: string;
  readonly about: string;
}

/** Every variable of the schema once, in the order of the schema, by group. */
export function composeVariables(): ReadonlyMap<string, readonly Variable[]> {
  const groups = new Map<string, Variable[]>();
  const seen = new Set<string>();
  const add = (group: string, variable: Variable): void => {
    if (seen.has(variable.name) || NOT_FOR_THE_CONTAINER.has(variable.name)) return;
    seen.add(variable.name);
    groups.set(group, [...(groups.get(group) ?? []), variable]);
  };
  for (const [name, about] of Object.entries(OTHER_VARIABLES)) {
    add('Files, keys and models', { name, about, fallback: IMAGE_DEFAULTS[name] ?? '' });
  }
  for (const [name, about] of Object.entries(HUB_VARIABLES)) add('The model hub', { name, about, fallback: '' });
  for (const bound of boundKeys) {
    const group = bound.ofModel ? 'What a model has that says nothing else' : (GROUPS[String(bound.path[0])] ?? '');
    // Of several variables for one key the strongest comes first; with a default it would silence the others.
    const weakest = bound.key.env.at(-1);
    for (const name of bound.key.env) {
      add(group, { name, about: bound.key.about, fallback: name === weakest ? fallbackOf(bound, name) : '' });
    }
  }
  for (const [name, about] of Object.entries(TRACE_VARIABLES)) add('Traces', { name, about, fallback: '' });
  return groups;
}

function fallbackOf({ key }: BoundKey, name: string): string {
  const own = IMAGE_DEFAULTS[name];
  if (own !== undefined) return own;
  if (key.fallback === undefined || key.fallback === null) return '';
  const shown = key.fromEnv.show(key.fallback);
  // A name that holds its unit has a bare number.
  if (typeof shown === 'string' && name.endsWith('_MIB')) return String((parseSize(shown) ?? 0) / MIB);
  if (typeof shown === 'string' && name.endsWith('_SECONDS')) return String((parseDuration(shown) ?? 0) / SECOND);
  return typeof shown === 'string' ? shown : JSON.stringify(shown);
}

function environment(indent: string): string {
  return [...composeVariables()]
    .map(([group, variables]) => {
      const lines = variables.map(
        ({ name, fallback, about }) => `${indent}# ${about}\n${indent}${name}: '\${${name}:-${fallback}}'`,
      );
      return [`${indent}# --- ${group}`, ...lines].join('\n');
    })
    .join('\n');
}

/** `grace`: what `check` prints as the longest end, in seconds. */
export function composeFile(grace: number): string {
  return `${GENERATED_YAML}
#
#   docker compose up -d --build      after config/models.yaml is written (README.md shows one)
#   docker compose exec gateway vllm-gateway status
#
# Values come from the shell or from a file .env beside this one; what config/models.yaml says goes before them. An empty
# variable is not set. docs/security.md says what the mounted Docker socket means.
services:
  gateway:
    build: .
    image: '\${GATEWAY_IMAGE:-vllm-gateway:latest}'
${container(grace, HOST_FOLDERS)}`;
}

export function portainerFile(grace: number): string {
  return `${GENERATED_YAML}
#
# A stack for Portainer: paste it into "Add stack", "Web editor", and set values under "Environment variables". Portainer
# builds nothing from the web editor: the image has to be on the machine (\`docker build -t vllm-gateway .\` in a clone) or
# in a registry. Paths are those of the Docker host and absolute, because a stack has no folder of its own.
services:
  gateway:
    image: '\${GATEWAY_IMAGE:-vllm-gateway:latest}'
${container(grace, STACK_FOLDERS)}`;
}

interface Folders {
  readonly data: string;
  readonly config: string;
}

const HOST_FOLDERS: Folders = { data: './data', config: './config' };
const STACK_FOLDERS: Folders = { data: '/opt/vllm-gateway/data', config: '/opt/vllm-gateway/config' };

function container(grace: number, { data, config }: Folders): string {
  return `    container_name: '\${GATEWAY_CONTAINER_NAME:-vllm_gateway}'
    restart: unless-stopped
    # Reaps what engines or probes leave behind; signals pass through.
    init: true
    # Longest end of the gateway, as \`vllm-gateway check\` computes it for these defaults.
    stop_grace_period: ${grace}s
    ports:
      # Programs of this machine only. For others write '9000:9000', and set GATEWAY_API_KEYS and GATEWAY_ADMIN_KEY first.
      - '127.0.0.1:9000:9000'
    volumes:
      # Whoever has this socket is root on the host; the gateway starts engines with it.
      - '/var/run/docker.sock:/var/run/docker.sock'
      - '\${HOST_DATA_DIR:-${data}}:/app/data'
      - '\${HOST_CONFIG_DIR:-${config}}:/app/config:ro'
      # Sizes of models are read here; engines get the same folder from the host.
      - '\${HOST_CACHE_DIR:-/root/.cache/huggingface}:/root/.cache/huggingface:ro'
    networks: [engines]
    # What the entry point needs to become an ordinary user; the gateway itself has none of it.
    cap_drop: [ALL]
    cap_add: [CHOWN, DAC_OVERRIDE, SETGID, SETUID]
    security_opt: ['no-new-privileges:true']
    deploy:
      resources:
        reservations:
          devices:
            # nvidia-smi, not the GPUs themselves. Without NVIDIA GPUs remove \`deploy\`.
            - { driver: nvidia, count: all, capabilities: [gpu, utility] }
    environment:
${environment('      ')}

networks:
  engines:
    name: '\${DOCKER_NETWORK_NAME:-vllm_network}'
`;
}
