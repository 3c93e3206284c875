/** Settings of the Docker driver: read and checked here, so that files and environments of the original stay valid. */
import { key } from './key.ts';
import { choice, nullable, wholeNumber } from './reader.ts';
import { text } from './text-reader.ts';

const path = text({ what: 'a path on the Docker host' });
/** Name, tag, digest; no scheme and no credentials, which would end up in labels and log lines. */
const IMAGE = /^[A-Za-z0-9](?:[\w.-]|:(?!\/\/)|\/)*(?:@[A-Za-z0-9+._-]+:[0-9a-fA-F]+)?$/;
const image = text({
  what: 'an image such as vllm/vllm-openai:v0.16.0',
  check: (value) =>
    IMAGE.test(value) ? undefined : 'is not an image name; allowed: an image such as vllm/vllm-openai:v0.16.0',
});
const containerName = text({
  what: 'a container name',
  check: (value) =>
    /^[A-Za-z0-9][\w.-]*$/.test(value)
      ? undefined
      : 'is not a container name; allowed: letters, digits, "_", "." and "-", beginning with a letter or digit',
});

export const imageReader = image;

export const dockerKeys = {
  socket: key({
    reader: text({ what: 'the path of the socket' }),
    fallback: '/var/run/docker.sock',
    about: 'Docker API socket.',
  }),
  network: key({
    reader: text({ what: 'the name of a network' }),
    fallback: 'vllm_network',
    about: 'Network of the engines.',
    env: ['DOCKER_NETWORK_NAME'],
  }),
  image: key({
    reader: image,
    fallback: 'vllm/vllm-openai:v0.16.0',
    about: 'Image of the engines.',
    env: ['VLLM_IMAGE'],
  }),
  gpus: key({
    reader: choice(['auto', 'nvidia', 'cdi', 'none']),
    fallback: 'auto' as const,
    about: 'How GPUs are handed to containers.',
  }),
  reach: key({
    reader: choice(['auto', 'network', 'published']),
    fallback: 'auto' as const,
    about: 'How engines are reached: over the network, or by a port published on loopback.',
  }),
  port: key({
    reader: wholeNumber(1, 65_535),
    fallback: 8000,
    about: 'Port of an engine inside its container.',
    env: ['VLLM_PORT'],
  }),
  container_prefix: key({
    reader: containerName,
    fallback: 'vllm_server',
    about: 'Beginning of container names.',
    env: ['VLLM_CONTAINER_PREFIX'],
  }),
  gateway_container: key({
    reader: containerName,
    fallback: 'vllm_gateway',
    about: "The gateway's own container, where the network is looked up.",
    env: ['GATEWAY_CONTAINER_NAME'],
  }),
  probe_image: key({
    reader: image,
    fallback: 'nvidia/cuda:12.1.0-base-ubuntu22.04',
    about: 'Image of the helper container that reads the GPUs.',
    env: ['NVIDIA_UTILITY_IMAGE'],
  }),
  cache_dir: key({
    reader: path,
    fallback: '/root/.cache/huggingface',
    about: 'Model cache on the host.',
    env: ['HOST_CACHE_DIR'],
  }),
  temp_dir: key({ reader: path, fallback: '/tmp', about: 'Temporary folder on the host.', env: ['VLLM_TEMP_DIR'] }),
  library_path: key({
    reader: nullable(text({ what: 'a library path' })),
    fallback: null,
    about: 'LD_LIBRARY_PATH inside the engines; null = as the image has it.',
    env: ['WORKER_LD_LIBRARY_PATH'],
  }),
};
