/** An installation of vLLM as a virtual environment has it, with the simulated engine inside. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fakeVllmPath } from './fake-vllm.ts';

/**
 * Writes `bin/vllm`, a script whose first line names `bin/python3`, which stands in for Python. For the configuration it is
 * a real installation: its files are fetched before a start (`FAKE_VLLM_FETCH_MS`, `FAKE_VLLM_FETCH_FAULT`), and nobody knows
 * its version beforehand.
 *
 * @returns the path of `bin/vllm`, for `drivers.process.command` or a model's `command` (with `engine: vllm`).
 */
export function fakeVenv(folder: string): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const python = join(bin, 'python3');
  writeFileSync(python, `#!/bin/sh\nexec '${process.execPath}' '${fakeVllmPath('python3.js')}' "$@"\n`);
  const vllm = join(bin, 'vllm');
  writeFileSync(vllm, `#!${python}\nfrom vllm.entrypoints.cli.main import main\n`);
  for (const file of [python, vllm]) chmodSync(file, 0o755);
  return vllm;
}
