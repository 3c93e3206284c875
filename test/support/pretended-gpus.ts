/** Devices whose memory the simulated engines really claim from each other, through a file that they share. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB_PER_GIB = 1_024;

export interface PretendedGpus extends Disposable {
  /** Configuration: `devices:` with all of its memory to be given away. */
  readonly yaml: string;
  /** For the environment of engines, without `FAKE_VLLM_`. */
  readonly knobs: Readonly<Record<string, string>>;
  /** MiB claimed on each device by the engines that live. */
  claimed(): readonly number[];
}

/** `name` keeps the files of test files apart. */
export function pretendedGpus(name: string, count: number, gib: number): PretendedGpus {
  const path = join(tmpdir(), `vgw-vram-${process.pid}-${name}.json`);
  const indices = Array.from({ length: count }, (_, index) => index);
  const uuid = (index: number): string => `GPU-${name}-${index}`;
  const devices = indices.map((index) => ({
    index,
    uuid: uuid(index),
    total_mib: gib * MIB_PER_GIB,
    base_used_mib: 0,
  }));
  writeFileSync(path, JSON.stringify({ devices, claims: {} }));
  const list = indices.map((index) => `{ id: gpu-${index}, memory: ${gib}GiB, uuid: ${uuid(index)} }`);
  return {
    yaml: `devices: { probe: static, budget_fraction: 1, list: [${list.join(', ')}] }`,
    knobs: { VRAM_FILE: path, WEIGHTS_MIB: '1024', ACTIVATION_MIB: '64', CONTEXT_MIB: '64', GRAPHS_MIB: '64' },
    claimed() {
      const { claims } = JSON.parse(readFileSync(path, 'utf8')) as {
        readonly claims: Readonly<Record<string, { readonly mib: Readonly<Record<string, number>> }>>;
      };
      return indices.map((index) => Object.values(claims).reduce((sum, { mib }) => sum + (mib[uuid(index)] ?? 0), 0));
    },
    [Symbol.dispose]: () => rmSync(path, { force: true }),
  };
}
