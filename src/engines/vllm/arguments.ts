/** The command line of `vllm serve`. Every flag here is one of vLLM 0.32; none was removed since 0.10. */
import { mergeArgs } from '../../config/merge-args.ts';
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
