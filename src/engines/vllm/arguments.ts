/** The command line of `vllm serve`, in the flags of the version that will read it. */
import { mergeArgs } from '../../config/merge-args.ts';
import { hasFlag, type VllmDialect } from '../../config/vllm-versions.ts';
import { GIB } from '../../units.ts';
import type { LaunchContext } from '../engine.ts';
import { ggufOf } from '../model-files/gguf-reference.ts';
import { dialectOf } from './dialect.ts';

/** Probed every few seconds: their access lines would push everything else out of the log. */
const QUIET_ENDPOINTS = '/health,/metrics,/v1/models,/load';
/**
 * With a KV cache of given size vLLM measures nothing, but still refuses to start unless this share of the device is
 * free. What is free is the gateway's business by then, so the share is one that always is.
 */
const SHARE_BESIDE_BYTES = 0.01;
/**
 * The log says sizes in hundredths of a GiB: what it rounded away may be the last block that a request of full length
 * needs. Just under half a hundredth more gives it back, and is said in the same figures, so that the size does not creep
 * from start to start.
 */
const ROUNDED_AWAY = Math.floor(0.0049 * GIB);

export function serveArguments(context: LaunchContext, servedName: string): readonly string[] {
  const { model, host, port, share } = context;
  const dialect = dialectOf(context);
  // Without devices in the ledger the plan knows no degree; the configured one holds.
  const degree = Math.max(share.tensorParallel, model.tensorParallelSize);
  const flags = [
    ...['--host', host, '--port', String(port), '--served-model-name', servedName],
    ...memoryFlags(context, dialect),
    ...['--tensor-parallel-size', String(degree), '--max-num-seqs', String(model.maxNumSeqs)],
  ];
  // Of a model whose memory is declared the plan knows no length; the configured one holds.
  const length = share.maxModelLen ?? model.maxModelLen;
  if (length > 0) flags.push('--max-model-len', String(length));
  if (model.quantization !== null) flags.push('--quantization', model.quantization);
  if (model.dtype !== 'auto') flags.push('--dtype', model.dtype);
  if (model.enforceEager) flags.push('--enforce-eager');
  if (ggufOf(model.repo) !== null && typeof context.tokenizer === 'string')
    flags.push('--tokenizer', context.tokenizer);
  // Every version that can serve these models has it.
  if (model.repo.startsWith('openai/gpt-oss-')) flags.push('--async-scheduling');
  flags.push(...quietFlags(dialect), '--enable-request-id-headers');
  return ['serve', model.repo, ...mergeArgs(flags, model.extraArgs)];
}

function memoryFlags({ share, model }: LaunchContext, dialect: VllmDialect): readonly string[] {
  if (share.kvCacheBytes !== null && hasFlag(dialect, '--kv-cache-memory-bytes')) {
    return [
      ...['--gpu-memory-utilization', String(SHARE_BESIDE_BYTES)],
      ...['--kv-cache-memory-bytes', String(share.kvCacheBytes + ROUNDED_AWAY)],
    ];
  }
  return ['--gpu-memory-utilization', String(share.utilization ?? model.gpuMemoryUtilization)];
}

/** Older ones can only be told to log no access at all. */
function quietFlags(dialect: VllmDialect): readonly string[] {
  const flag = '--disable-access-log-for-endpoints';
  return hasFlag(dialect, flag) ? [flag, QUIET_ENDPOINTS] : ['--disable-uvicorn-access-log'];
}
