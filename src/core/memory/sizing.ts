/** What decides how many bytes a replica needs on each of its devices: the rules of the fleet, and a model's own settings. */
import type { Bytes } from '../../units.ts';

export interface MemoryRules {
  /** `whole_card`: a model takes its share of a device unless a footprint is known. */
  readonly placementMode: 'budget' | 'whole_card';
  readonly eviction: 'lru' | 'value';
  /** On weights and KV cache: activations, graphs, fragmentation. */
  readonly overheadFactor: number;
  /** Per device, whatever the size of the model: context, libraries. */
  readonly overhead: Bytes;
  /** whole_card: left free beside co-located models. */
  readonly colocateMargin: Bytes;
  /** whole_card: a share smaller than the weights times this is refused. */
  readonly weightOverhead: number;
  /** Share of a device that the gateway may promise in all. */
  readonly budgetFraction: number;
}

export interface SizingSettings {
  /** Share of a device without any better knowledge (`gpu_memory_utilization`). */
  readonly utilization: number;
  /** Tokens; 0 = the native length. */
  readonly maxModelLen: number;
  /** Sequences of full length that KV cache is reserved for (`kv_reservation_seqs`, else `max_num_seqs`). */
  readonly kvSequences: number;
  /** Sequences that the engine runs at once: constant state is held for each. */
  readonly maxNumSeqs: number;
  /** Tokens per step of the engine; bounds what sliding windows keep. */
  readonly maxBatchedTokens: number;
  /** Bytes of a KV element when the arguments set it (fp8: 1); null = as the model says. */
  readonly kvElementBytes: number | null;
  /** `quantization` or `dtype` as configured change what the weights take only when loaded on the fly; null = as stored. */
  readonly weightElementBytes: number | null;
  /** whole_card: it may share a device with others of its kind. */
  readonly colocate: boolean;
  /** It may take more devices than one when it is too large (`tensor_parallel_size` left at 1, not co-located). */
  readonly autoParallel: boolean;
}
