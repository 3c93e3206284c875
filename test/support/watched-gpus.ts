/**
 * Pretended GPUs that are really read: simulated engines claim their memory in a shared file, and the gateway's probe runs
 * a pretended `nvidia-smi` over it. Models lie in folders with metadata, so that their sizes can be computed.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readVram, updateVram, usedMib, type FakeVram } from '../../tools/fake-vllm/vram-file.ts';
import { fakeVllmPath } from './fake-vllm.ts';

const MIB_PER_GIB = 1_024;
const BYTES_PER_MIB = 1_024 * 1_024;
/** Two GiB of weights, and 16 KiB of KV cache per token: half a MiB times `max_model_len` / 32 times sequences. */
const WEIGHTS_MIB = 2_048;
const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  num_hidden_layers: 8,
  num_attention_heads: 32,
  num_key_value_heads: 4,
  head_dim: 128,
  hidden_size: 4_096,
  intermediate_size: 11_008,
  vocab_size: 32_000,
  max_position_embeddings: 8_192,
  torch_dtype: 'bfloat16',
};

/** With 8192 tokens for each of 16 sequences: (2 GiB of weights + 2 GiB of KV cache) × 1.1 + 1 GiB. */
export const ESTIMATE_MIB = (WEIGHTS_MIB + 2_048) * 1.1 + 1_024;
/** CUDA's context, which an engine takes beside its share. */
export const CONTEXT_MIB = 450;

export interface WatchedModel {
  readonly name: string;
  /** `FAKE_VLLM_…` without the prefix. */
  readonly knobs?: Readonly<Record<string, string | number>>;
  /** Further keys of the model. */
  readonly keys?: Readonly<Record<string, unknown>>;
  /** Its files cannot be found: its size is not known. */
  readonly unknown?: boolean;
}

export interface WatchedGpus extends Disposable {
  readonly folder: string;
  /** For the environment of the gateway. */
  readonly env: Readonly<Record<string, string>>;
  readonly uuids: readonly string[];
  /** Configuration: devices, drivers and models; `more` replaces top-level keys. */
  yaml(models: readonly WatchedModel[], more?: Readonly<Record<string, unknown>>): string;
  /** MiB in use on each device, as anybody would read it. */
  used(): readonly number[];
  /** Somebody else takes so much of a device; 0 = leaves. */
  tenant(index: number, mib: number): void;
  /** How the pretended `nvidia-smi` misbehaves from now on; null = not at all. */
  misbehave(fault: string | null): void;
  /** Edits the machine: its devices, and what engines hold of them. */
  change(edit: (vram: FakeVram) => void): void;
}

export function watchedGpus(name: string, gib: readonly number[]): WatchedGpus {
  const folder = mkdtempSync(join(tmpdir(), `vgw-gpus-${name}-`));
  const file = join(folder, 'vram.json');
  const uuids = gib.map((_, index) => `GPU-${name}-${index}`);
  const devices = gib.map((size, index) => ({
    index,
    uuid: uuids[index] ?? '',
    total_mib: size * MIB_PER_GIB,
    base_used_mib: 0,
  }));
  writeFileSync(file, JSON.stringify({ devices, claims: {} } satisfies FakeVram));
  return {
    folder,
    uuids,
    env: { FAKE_VLLM_VRAM_FILE: file, HF_HUB_OFFLINE: '1' },
    yaml: (models, more = {}) => yamlOf(folder, file, models, more),
    used: () => {
      const vram = readVram(file);
      return vram.devices.map((device) => Math.round(usedMib(vram, device)));
    },
    tenant: (index, mib) => {
      updateVram(file, (vram) => {
        vram.devices = vram.devices.map((device) =>
          device.index === index ? { ...device, base_used_mib: mib } : device,
        );
      });
    },
    misbehave: (fault) => {
      updateVram(file, (vram) => {
        if (fault === null) delete vram.smi_fault;
        else vram.smi_fault = fault;
      });
    },
    change: (edit) => updateVram(file, edit),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function yamlOf(
  folder: string,
  file: string,
  models: readonly WatchedModel[],
  more: Readonly<Record<string, unknown>>,
): string {
  const knobs = { VRAM_FILE: file, WEIGHTS_MIB, CONTEXT_MIB, ACTIVATION_MIB: 64, GRAPHS_MIB: 64, START_MS: 300 };
  const quick = { CONTROL: 1, TTFT_MS: 5, TOKEN_MS: 2, TOKENS: 4 };
  const entries = models.map((model) => {
    const env = Object.entries({ ...knobs, ...quick, ...model.knobs });
    return [
      model.name,
      {
        repo: model.unknown === true ? join(folder, 'nowhere', model.name) : repoFolder(folder, model.name),
        engine: 'vllm',
        command: [process.execPath, fakeVllmPath()],
        env: Object.fromEntries(env.map(([knob, value]) => [`FAKE_VLLM_${knob}`, String(value)])),
        max_model_len: 8_192,
        max_num_seqs: 16,
        stop_timeout: '5s',
        ...model.keys,
      },
    ] as const;
  });
  const top = {
    devices: { probe: 'nvidia-smi', command: `${process.execPath} ${fakeVllmPath('nvidia-smi.js')}` },
    drivers: { default: 'process' },
    limits: { min_residency: 0 },
    models: Object.fromEntries(entries),
    ...more,
  };
  // JSON is YAML.
  return Object.entries(top)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}`)
    .join('\n');
}

/** As a download leaves it, but for the weights themselves, of which the index tells the size. */
function repoFolder(folder: string, name: string): string {
  const repo = join(folder, 'models', name);
  mkdirSync(repo, { recursive: true });
  writeFileSync(join(repo, 'config.json'), JSON.stringify(CONFIG));
  const index = {
    metadata: { total_size: WEIGHTS_MIB * BYTES_PER_MIB },
    weight_map: { 'a.weight': 'model-1.safetensors' },
  };
  writeFileSync(join(repo, 'model.safetensors.index.json'), JSON.stringify(index));
  return repo;
}
