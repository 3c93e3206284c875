/** What makes an engine what it is, in one hash: for adoption by a later gateway, and for what was learned of its memory. */
import type { Config, ModelConfig } from './config/config.ts';

/** SHA-256 of a text as lower-case hex. */
export type Sha256 = (text: string) => string;

/**
 * Two replicas with the same hash are interchangeable. Left out: aliases, limits and timeouts, which live in the gateway
 * alone, and the devices a model may use, which say where it runs and not what runs there.
 */
export function specHash(config: Config, model: ModelConfig, sha256: Sha256): string {
  const command = model.driver === 'process' ? (model.command ?? config.drivers.process.command) : null;
  const docker = model.driver === 'docker' ? containerIdentity(config, model) : null;
  return sha256(
    JSON.stringify({
      name: model.name,
      repo: model.repo,
      driver: model.driver,
      engine: model.engine,
      url: model.url,
      command,
      env: sorted(model.env),
      container: docker,
      volumes: model.volumes,
      shmSize: model.shmSize,
      flags: model.engine === 'vllm' ? flags(model) : null,
      size: sizeRules(config, model),
    }),
  );
}

function containerIdentity({ drivers }: Config, model: ModelConfig): object {
  const { image, libraryPath } = drivers.docker;
  return { image: model.image ?? image, libraryPath };
}

function flags(model: ModelConfig): object {
  return {
    maxModelLen: model.maxModelLen,
    tensorParallelSize: model.tensorParallelSize,
    maxNumSeqs: model.maxNumSeqs,
    quantization: model.quantization,
    dtype: model.dtype,
    enforceEager: model.enforceEager,
    extraArgs: model.extraArgs,
  };
}

/** The engine is told how much of a device it may fill: whatever that follows from is part of what it is. */
function sizeRules({ memory, devices }: Config, model: ModelConfig): object {
  const { gpuMemoryUtilization: utilization, colocate } = model;
  if (model.memory !== null) return { declared: model.memory };
  if (memory.placementMode === 'whole_card') return { mode: memory.placementMode, utilization, colocate };
  return {
    mode: memory.placementMode,
    utilization,
    sequences: model.kvReservationSeqs ?? model.maxNumSeqs,
    factor: memory.overheadFactor,
    overhead: memory.overhead,
    budgetFraction: devices.budgetFraction,
  };
}

function sorted(values: Readonly<Record<string, string>>): readonly (readonly [string, string])[] {
  return Object.entries(values).toSorted(([left], [right]) => (left < right ? -1 : 1));
}
