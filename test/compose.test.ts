/** The shipped Compose files hold every setting, and their defaults are the program's own. */
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { effectiveConfig, stopGracePeriod } from '../src/config/effective.ts';
import { boundKeys, OTHER_VARIABLES, RETIRED } from '../src/config/environment.ts';
import { SECOND } from '../src/units.ts';
import { load } from './support/load-config.ts';
import { filesUnder, isTest, readSource } from './support/source-tree.ts';

interface Service {
  readonly build?: string;
  readonly image: string;
  readonly container_name: string;
  readonly restart: string;
  readonly init: boolean;
  readonly stop_grace_period: string;
  readonly ports: readonly string[];
  readonly volumes: readonly string[];
  readonly cap_add: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly deploy: {
    readonly resources: { readonly reservations: { readonly devices: readonly { capabilities: readonly string[] }[] } };
  };
}

type Variables = Readonly<Record<string, string>>;

const FILES = ['docker-compose.yml', 'examples/portainer.yml'] as const;
const MODELS_FILE = '/app/config/models.yaml';
const MODELS = 'models: { any: { repo: org/any, memory: 1GiB } }\n';
/** What the image sets, as its Dockerfile says. */
const IMAGE: Variables = Object.fromEntries(
  [...readSource('Dockerfile').matchAll(/^(?:ENV |\s+)([A-Z_]+)=(\S+?)(?: \\)?$/gm)].map(
    ([, name = '', value = '']) => [name, value],
  ),
);

function serviceOf(file: string): Service {
  const { services } = parse(readSource(file)) as { services: { gateway: Service } };
  return services.gateway;
}

/** `${NAME:-default}` as Compose replaces it: an empty variable counts as none. */
function interpolated(text: string, env: Variables): string {
  return text.replaceAll(/\$\{([A-Z0-9_]+):-([^}]*)\}/g, (_, name: string, fallback: string) => env[name] || fallback);
}

function environmentOf(file: string, env: Variables = {}): Variables {
  const entries = Object.entries(serviceOf(file).environment);
  return { ...IMAGE, ...Object.fromEntries(entries.map(([name, text]) => [name, interpolated(text, env)])) };
}

async function effectiveWith(env: Variables, models: string): Promise<unknown> {
  const { config, lines } = await load(undefined, { env, files: { [MODELS_FILE]: models } });
  if (!config) throw new Error(lines.join('\n'));
  return effectiveConfig(config);
}

/** Names that the sources read from the environment by themselves. */
function namesInSources(): readonly string[] {
  const sources = filesUnder('src').filter((path) => !isTest(path));
  const names = sources.flatMap((path) =>
    [...readSource(path).matchAll(/\b(?:env|own)\['([A-Z][A-Z0-9_]+)'\]|\bvalue\('([A-Z][A-Z0-9_]+)'\)/g)].map(
      ([, one, other]) => one ?? other ?? '',
    ),
  );
  return [...new Set(names)];
}

/** Of the machine, of a terminal, of our own tests, or of the container itself: nobody sets them for a gateway in Compose. */
const ELSEWHERE = new Set([
  ...[
    'HOME',
    'HOSTNAME',
    'PATH',
    'LANG',
    'LC_ALL',
    'LC_CTYPE',
    'TERM',
    'NO_COLOR',
    'FORCE_COLOR',
    'TMPDIR',
    'XDG_CACHE_HOME',
    'VIRTUAL_ENV',
  ],
  ...['GATEWAY_URL', 'VLLM_GATEWAY_RECOUNT'],
  // Of an engine: a model's own `env` sets it.
  'VLLM_USE_MODELSCOPE',
  // The image says where the cache is mounted; Compose mounts it there.
  ...['HF_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_TOKEN_PATH', 'TRANSFORMERS_OFFLINE'],
]);

describe.each(FILES)('%s', (file) => {
  it('sets every variable that the program reads [item 19] [S11]', () => {
    const set = new Set(Object.keys(serviceOf(file).environment));
    const read = [...boundKeys.flatMap(({ key }) => key.env), ...Object.keys(OTHER_VARIABLES), ...namesInSources()];
    expect(read.length).toBeGreaterThan(50);
    expect(read.filter((name) => !set.has(name) && !ELSEWHERE.has(name))).toEqual([]);
    for (const [name, text] of Object.entries(serviceOf(file).environment)) {
      expect(text, name).toMatch(new RegExp(`^\\$\\{${name}:-[^}]*\\}$`));
    }
  });

  it('changes nothing by its defaults [S11]', async () => {
    expect(await effectiveWith(environmentOf(file), MODELS)).toEqual(await effectiveWith(IMAGE, MODELS));
    const { lines } = await load(undefined, { env: environmentOf(file), files: { [MODELS_FILE]: MODELS } });
    expect(lines.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  it("passes on all of the predecessor's example environment [items 19, 146] [S18]", async () => {
    const text = readSource('test/fixtures/original/env');
    const env = Object.fromEntries(
      [...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
    );
    const whole = readSource(file);
    const lost = Object.keys(env).filter((name) => !whole.includes(`\${${name}:-`) && !(name in RETIRED));
    expect(lost).toEqual(['HOST_TEMP_DIR']);
    const models = readSource('test/fixtures/original/models.yaml');
    const { VLLM_SWAP_SPACE: _, GATEWAY_REQUEST_STALE_FACTOR: __, ...used } = env;
    expect(await effectiveWith(environmentOf(file, env), models)).toEqual(
      await effectiveWith({ ...IMAGE, ...used }, models),
    );
  });

  it('listens on this machine only, and gives the gateway time to end', async () => {
    const service = serviceOf(file);
    expect(service).toMatchObject({ init: true, restart: 'unless-stopped', ports: ['127.0.0.1:9000:9000'] });
    const { config } = await load(undefined, { env: environmentOf(file), files: { [MODELS_FILE]: MODELS } });
    expect(config).not.toBeNull();
    if (config) expect(service.stop_grace_period).toBe(`${stopGracePeriod(config) / SECOND}s`);
  });

  it('mounts the socket, the state and the cache, and asks for nvidia-smi without the GPUs', () => {
    const { volumes, deploy, cap_add: capabilities } = serviceOf(file);
    expect(volumes.map((volume) => interpolated(volume, {}).split(':')[1])).toEqual([
      '/var/run/docker.sock',
      IMAGE['GATEWAY_STATE_DIR'],
      '/app/config',
      IMAGE['HF_HOME'],
    ]);
    expect(deploy.resources.reservations.devices[0]?.capabilities).toEqual(['gpu', 'utility']);
    expect(capabilities).toEqual(['CHOWN', 'DAC_OVERRIDE', 'SETGID', 'SETUID']);
  });
});

describe('examples/portainer.yml', () => {
  it('builds nothing and needs no folder of its own', () => {
    const { build, volumes } = serviceOf('examples/portainer.yml');
    expect(build).toBeUndefined();
    for (const volume of volumes) expect(interpolated(volume, {})).toMatch(/^\//);
  });
});
