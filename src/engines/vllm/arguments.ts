/** The command line of `vllm serve`. Every flag here is one of vLLM 0.32; none was removed since 0.10. */
import type { LaunchContext } from '../engine.ts';

/** Places of the utilisation that vLLM is told; finer steps are below its block size anyway. */
const UTILIZATION_SCALE = 10_000;
/** Probed every few seconds: their access lines would push everything else out of the log. */
const QUIET_ENDPOINTS = '/health,/metrics,/v1/models,/load';

export function serveArguments(context: LaunchContext, servedName: string): readonly string[] {
  const { model, host, port } = context;
  const flags = [
    ...['--host', host, '--port', String(port), '--served-model-name', servedName],
    ...['--gpu-memory-utilization', String(utilization(context))],
    ...['--tensor-parallel-size', String(model.tensorParallelSize), '--max-num-seqs', String(model.maxNumSeqs)],
  ];
  if (model.maxModelLen > 0) flags.push('--max-model-len', String(model.maxModelLen));
  if (model.quantization !== null) flags.push('--quantization', model.quantization);
  if (model.dtype !== 'auto') flags.push('--dtype', model.dtype);
  if (model.enforceEager) flags.push('--enforce-eager');
  if (model.repo.startsWith('openai/gpt-oss-')) flags.push('--async-scheduling');
  flags.push('--disable-access-log-for-endpoints', QUIET_ENDPOINTS, '--enable-request-id-headers');
  return ['serve', model.repo, ...mergeArgs(flags, model.extraArgs)];
}

/** Share of each of its devices that was promised to it; without a promise, what the model is configured with. */
function utilization({ devices, model }: LaunchContext): number {
  const shares = devices
    .filter((device) => device.totalBytes > 0 && device.reservedBytes > 0)
    .map((device) => device.reservedBytes / device.totalBytes);
  if (shares.length === 0) return model.gpuMemoryUtilization;
  // One number for all ranks: the smallest keeps the promise on each.
  const share = Math.min(1, ...shares);
  return Math.max(1, Math.round(share * UTILIZATION_SCALE)) / UTILIZATION_SCALE;
}

const SHORT_FLAGS: Readonly<Record<string, string>> = {
  '-q': '--quantization',
  '-tp': '--tensor-parallel-size',
};

/**
 * The generated flags with the user's behind them. A generated flag that the user passes too, in any spelling that
 * argparse accepts (`--a_b`, `--a-b=1`, `--no-a-b`, an unambiguous beginning, a short one), goes out together with its
 * value, so that nothing is passed twice.
 */
export function mergeArgs(generated: readonly string[], extra: readonly string[]): readonly string[] {
  const asked = extra.filter(isFlag).map(canonical);
  const kept: string[] = [];
  let dropping = false;
  for (const argument of generated) {
    if (isFlag(argument)) dropping = asked.some((flag) => spells(flag, argument));
    if (!dropping) kept.push(argument);
  }
  return [...kept, ...extra];
}

function isFlag(argument: string): boolean {
  return /^-{1,2}[A-Za-z]/.test(argument);
}

function canonical(argument: string): string {
  const name = argument.split('=', 1)[0] ?? argument;
  const long = SHORT_FLAGS[name] ?? name;
  if (!long.startsWith('--')) return long;
  const dashed = long.toLowerCase().replaceAll('_', '-');
  return dashed.startsWith('--no-') ? `--${dashed.slice('--no-'.length)}` : dashed;
}

function spells(flag: string, generated: string): boolean {
  return flag === generated || (flag.startsWith('--') && flag.length > 3 && generated.startsWith(flag));
}
