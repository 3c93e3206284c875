/** The configuration that `init` writes: commented, and as the machine is. */
import type { CachedModel, Survey } from '../doctor/survey.ts';
import { formatSize, GIB, type Bytes } from '../units.ts';

/** What fits a GPU of so many bytes with room for requests; the first whose GPU is no larger than the one here. */
const SUGGESTED: readonly { readonly gpu: Bytes; readonly repo: string }[] = [
  { gpu: 20 * GIB, repo: 'Qwen/Qwen2.5-7B-Instruct' },
  { gpu: 10 * GIB, repo: 'Qwen/Qwen2.5-3B-Instruct' },
  { gpu: 0, repo: 'Qwen/Qwen2.5-0.5B-Instruct' },
];
const LONGEST = 8_192;
const PLAIN_REPO = /^[\w.-]+(?:\/[\w.-]+)?$/;

const comment = (text: string): string => `# ${text.replaceAll(/\p{Cc}+/gu, ' ')}`;

export function starterConfig(survey: Survey): string {
  return [
    ...head(survey),
    '',
    ...server(),
    '',
    ...devices(survey),
    '',
    ...drivers(survey),
    '',
    ...models(survey),
    '',
  ].join('\n');
}

function head({ gpus, gpuNote }: Survey): readonly string[] {
  const seen = gpus.map(({ uuid, name, totalBytes }) =>
    comment(`  ${name}, ${formatSize(totalBytes)}${uuid === null ? '' : ` (${uuid})`}`),
  );
  return [
    comment('Written by `vllm-gateway init` from what it found on this machine. Next:'),
    comment('  vllm-gateway doctor   looks at Docker, GPUs, disk and hub'),
    comment('  vllm-gateway plan --config FILE   says what would go where'),
    comment('  vllm-gateway serve'),
    comment('Durations: 30s, 5m, 1h. Sizes: 24GiB, 512MiB. ${NAME:-default} is taken from the environment.'),
    '#',
    ...(seen.length > 0 ? [comment('GPUs:'), ...seen] : [comment(`GPUs: none found (${gpuNote ?? 'none'}).`)]),
  ];
}

function server(): readonly string[] {
  return [
    'server:',
    '  # Other machines may connect only when there are keys (GATEWAY_API_KEYS), or with an explicit `auth: none`.',
    '  listen: 127.0.0.1:9000',
    '  state_dir: ./data',
  ];
}

function devices({ gpus }: Survey): readonly string[] {
  const names = gpus.flatMap(({ uuid }) => uuid ?? []);
  const pools =
    names.length < 2
      ? []
      : [
          '',
          '# Which GPUs may serve which models: once there are pools, every model names one (`pool: fast`).',
          '# pools:',
          `#   fast: [${names[0] ?? ''}]`,
          `#   rest: [${names.slice(1).join(', ')}]`,
        ];
  return [
    'devices:',
    '  # auto reads the GPUs with nvidia-smi, else through Docker.',
    '  probe: auto',
    '  # Engines get at most this part of each.',
    '  budget_fraction: 0.90',
    ...pools,
  ];
}

function drivers({ vllm, dockerTrouble }: Survey): readonly string[] {
  if (vllm !== null) {
    return [
      comment(`vllm is ${vllm}: engines are processes of this machine. For containers: default: docker`),
      'drivers:',
      '  default: process',
      '  process:',
      '    # What stands before `serve REPO --flags…`.',
      `    command: [${JSON.stringify(vllm)}]`,
    ];
  }
  const found = dockerTrouble === null ? 'Docker answers' : dockerTrouble;
  return [
    comment(`vllm is not on PATH. ${found.replace(/\.$/, '')}.`),
    'drivers:',
    '  # Engines are containers. For an installed vLLM: default: process, and process: { command: [/path/to/vllm] }',
    '  default: docker',
    '  docker:',
    '    gpus: auto',
  ];
}

function models(survey: Survey): readonly string[] {
  const cached = survey.cached.filter(({ repo }) => PLAIN_REPO.test(repo));
  const largest = Math.max(0, ...survey.gpus.map(({ totalBytes }) => totalBytes));
  const suggested = SUGGESTED.find(({ gpu }) => largest >= gpu)?.repo ?? '';
  const chosen: readonly CachedModel[] =
    cached.length > 0 ? cached : [{ repo: suggested, weightBytes: null, nativeLength: null }];
  const taken = new Set<string>();
  return [
    '# Keys for every model that does not set them itself.',
    'defaults:',
    '  # 0 = the native length of the model.',
    `  max_model_len: ${LONGEST}`,
    '  max_num_seqs: 16',
    '  # An idle engine leaves after this.',
    '  inactivity_timeout: 30m',
    '',
    cached.length > 0
      ? '# Complete in the local model cache.'
      : '# No complete model is in the local cache: this one is fetched at its first start.',
    'models:',
    ...chosen.flatMap((model) => entry(model, taken)),
    '',
    '  # A server that somebody else runs: never started or stopped by the gateway.',
    '  # team-embeddings: { url: "http://10.0.0.5:8000", repo: BAAI/bge-m3 }',
  ];
}

function entry({ repo, weightBytes, nativeLength }: CachedModel, taken: Set<string>): readonly string[] {
  const base = (repo.split('/').at(-1) ?? repo).toLowerCase();
  let name = base;
  for (let number = 2; taken.has(name); number += 1) name = `${base}-${number}`;
  taken.add(name);
  const short = nativeLength !== null && nativeLength < LONGEST ? [`    max_model_len: ${nativeLength}`] : [];
  const size = weightBytes === null ? [] : [`    # ${formatSize(weightBytes)} of weights.`];
  return [`  ${JSON.stringify(name)}:`, ...size, `    repo: ${JSON.stringify(repo)}`, ...short];
}
