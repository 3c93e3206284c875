import type { DockerSettings } from '../../src/config/config.ts';

/** As nobody set anything. */
export function dockerSettings(more: Partial<DockerSettings> = {}): DockerSettings {
  return {
    socket: '/nowhere/docker.sock',
    network: 'vllm_network',
    image: 'vllm/vllm-openai:v0.16.0',
    gpus: 'auto',
    reach: 'auto',
    port: 8000,
    containerPrefix: 'vllm_server',
    gatewayContainer: 'vllm_gateway',
    probeImage: 'nvidia/cuda:12.1.0-base-ubuntu22.04',
    cacheDir: '/root/.cache/huggingface',
    tempDir: '/tmp',
    libraryPath: null,
    ...more,
  };
}
