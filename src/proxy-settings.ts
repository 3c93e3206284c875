/** What the data plane must know of the configuration. */
import type { Config, ModelConfig } from './config/config.ts';
import type { ProxyModel, ProxySettings } from './proxy/settings.ts';
import type { Milliseconds } from './units.ts';

/** The built-in word for the simulated engine. */
export const SIMULATED_ENGINE = 'simulated-vllm';

export function isSimulated(config: Config, model: ModelConfig): boolean {
  return model.driver === 'process' && (model.command ?? config.drivers.process.command)[0] === SIMULATED_ENGINE;
}

export function toProxySettings(config: Config, loadedAt: Milliseconds): ProxySettings {
  const models = [...config.models.values()].map((model) => proxyModel(config, model));
  return {
    models: new Map(models.map((model) => [model.name, model])),
    aliases: config.aliases,
    loadedAt,
    maxBodySize: config.server.maxBodySize,
    maxBufferedBytes: config.limits.maxBufferedBytes,
    corsOrigins: config.server.corsOrigins,
    retry: config.retry,
  };
}

function proxyModel(config: Config, model: ModelConfig): ProxyModel {
  return {
    name: model.name,
    aliases: model.aliases,
    // A simulated answer must never be taken for a real one.
    ownedBy: isSimulated(config, model) ? 'simulated' : model.driver === 'external' ? 'external' : 'vllm-gateway',
    maxModelLen: model.maxModelLen > 0 ? model.maxModelLen : null,
    description: model.description,
    metadata: model.metadata,
    unlisted: model.unlisted,
    requestDefaults: model.requestDefaults,
    routes: model.routes,
    keepalive: model.keepalive,
    timeouts: model.timeouts,
  };
}
