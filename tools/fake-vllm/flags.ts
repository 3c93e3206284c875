/** Options of `vllm serve` 0.32 that the stand-in accepts, with the kind of value argparse reads for each. */

/** `len` is a count that also takes `8k` (8000), `8K` (8192) and `auto` or `-1`. */
export type FlagKind = 'flag' | 'int' | 'float' | 'text' | 'list' | 'len' | 'optional';

const FLAGS = `
aggregate-engine-logging disable-access-log-for-endpoints=text disable-fastapi-docs disable-frontend-multiprocessing
disable-uvicorn-access-log enable-auto-tool-choice enable-force-include-usage enable-log-deltas enable-log-outputs
enable-log-requests enable-offline-docs enable-per-request-metrics enable-prompt-tokens-details enable-request-id-headers
enable-scale-out enable-server-load-tracking enable-ssl-refresh enable-tokenizer-info-endpoint headless log-error-stack
return-tokens-as-token-ids tokens-only trust-request-chat-template fail-on-environ-validation
additional-config=text allow-credentials allow-deprecated-quantization allowed-headers=text
allowed-local-media-path=text allowed-media-domains=list allowed-methods=text allowed-origins=text api-key=list
api-server-count=int async-scheduling attention-backend=text attention-config=text block-size=int
calculate-kv-scales chat-template=text chat-template-content-format=text code-revision=text collect-detailed-traces=list
compilation-config=text config=text config-format=text convert=text cp-kv-cache-interleave-size=int cpu-offload-gb=float
cpu-offload-params=list cudagraph-capture-sizes=list cudagraph-metrics data-parallel-address=text
data-parallel-backend=text data-parallel-external-lb data-parallel-hybrid-lb data-parallel-multi-port-external-lb
data-parallel-rank=int data-parallel-rpc-port=int data-parallel-size=int data-parallel-size-local=int
data-parallel-start-rank=int dcp-comm-backend=text decode-context-parallel-size=int default-chat-template-kwargs=text
device-ids=list disable-cascade-attn disable-chunked-mm-input disable-custom-all-reduce disable-hybrid-kv-cache-manager
disable-log-stats disable-nccl-for-dp-synchronization disable-sliding-window distributed-executor-backend=text
distributed-timeout-seconds=int download-dir=text dtype=text ec-transfer-config=text enable-chunked-prefill
enable-dbo enable-elastic-ep enable-eplb enable-expert-parallel enable-fault-tolerance enable-flashinfer-autotune
enable-layerwise-nvtx-tracing enable-logging-iteration-details enable-lora enable-lora-bias enable-mfu-metrics
enable-mm-embeds enable-prefix-caching enable-prompt-embeds enable-return-routed-experts enable-sleep-mode
enforce-eager eplb-config=text exclude-tools-when-tool-choice-none expert-placement-strategy=text
fully-sharded-loras generation-config=text gpu-memory-utilization=float h11-max-header-count=int
h11-max-incomplete-event-size=int hf-config-path=text hf-overrides=text hf-token=optional host=text
ignore-patterns=list interleave-mm-strings io-processor-plugin=text ir-op-priority=text kernel-config=text
kv-cache-dtype=text kv-cache-dtype-skip-layers=list kv-cache-memory-bytes=len kv-cache-metrics
kv-cache-metrics-sample=float kv-events-config=text kv-offloading-backend=text kv-offloading-size=float
kv-sharing-fast-prefill kv-transfer-config=text language-model-only limit-mm-per-prompt=text load-format=text
logits-processor-pattern=text logits-processors=list logprobs-mode=text long-prefill-token-threshold=int
lora-dtype=text lora-modules=list lora-target-modules=list mamba-backend=text mamba-block-size=int
mamba-cache-dtype=text mamba-cache-mode=text mamba-ssm-cache-dtype=text master-addr=text master-port=int
max-cpu-loras=int max-cudagraph-capture-size=int max-logprobs=int max-long-partial-prefills=int max-lora-rank=int
max-loras=int max-model-len=len max-num-batched-tokens=len max-num-queued-reqs=int max-num-queued-tokens=int
max-num-seqs=int max-parallel-loading-workers=int media-io-kwargs=text middleware=list mm-encoder-attn-backend=text
mm-encoder-tp-mode=text mm-processor-cache-gb=float mm-processor-cache-type=text mm-processor-kwargs=text
mm-shm-cache-max-object-size-mb=int model=text model-impl=text model-loader-extra-config=text node-rank=int nnodes=int
num-gpu-blocks-override=int numa-bind offload-backend=text offload-group-size=int offload-num-in-group=int
offload-params=list offload-prefetch-step=int optimization-level=text otlp-traces-endpoint=text
override-attention-dtype=text performance-mode=text pipeline-parallel-size=int pooler-config=text port=int
prefill-context-parallel-size=int prefix-caching-hash-algo=text profiler-config=text pt-load-map-location=text
quantization=text quantization-config=text ray-workers-use-nsight reasoning-config=text reasoning-parser=text
reasoning-parser-plugin=text renderer-num-workers=int response-role=text revision=text root-path=text runner=text
safetensors-load-strategy=text scheduler-cls=text scheduler-reserve-full-isl scheduling-policy=text seed=int
served-model-name=list show-hidden-metrics-for-version=text shutdown-timeout=int skip-mm-profiling skip-tokenizer-init
spec-method=text spec-model=text spec-tokens=int speculative-config=text ssl-ca-certs=text ssl-cert-reqs=int
ssl-certfile=text ssl-ciphers=text ssl-keyfile=text stream-interval=int structured-outputs-config=text
tensor-parallel-size=int tokenizer=text tokenizer-mode=text tokenizer-revision=text tool-call-parser=text
tool-parser-plugin=text tool-server=text trust-remote-code uds=text use-tqdm-on-load uvicorn-log-level=text
video-pruning-rate=float watermark=float weight-transfer-config=text worker-cls=text worker-extension-cls=text
`;

/** Short spellings that argparse knows. */
export const SHORT_FLAGS: Readonly<Record<string, string>> = {
  '-tp': 'tensor-parallel-size',
  '-pp': 'pipeline-parallel-size',
  '-dp': 'data-parallel-size',
  '-dcp': 'decode-context-parallel-size',
  '-q': 'quantization',
  '-O': 'optimization-level',
  '-cc': 'compilation-config',
  '-ac': 'attention-config',
  '-asc': 'api-server-count',
  '-n': 'nnodes',
  '-r': 'node-rank',
};

/** Values argparse itself refuses when they are not in the list. */
export const CHOICES: Readonly<Record<string, readonly string[]>> = {
  dtype: ['auto', 'bfloat16', 'float', 'float16', 'float32', 'half'],
  runner: ['auto', 'generate', 'pooling'],
  'scheduling-policy': ['fcfs', 'priority'],
  'distributed-executor-backend': ['external_launcher', 'mp', 'ray', 'uni'],
};

function table(): Map<string, FlagKind> {
  const kinds = new Map<string, FlagKind>();
  for (const word of FLAGS.split(/\s+/)) {
    if (word === '') continue;
    const [name = '', kind = 'flag'] = word.split('=');
    kinds.set(name, kind as FlagKind);
  }
  return kinds;
}

export const FLAG_KINDS: ReadonlyMap<string, FlagKind> = table();
