import { describe, expect, it } from 'vitest';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import type { Config, DockerSettings } from '../config/config.ts';
import { GIB } from '../units.ts';
import type { Probe } from './probe.ts';
import { createProbe } from './registry.ts';

const LIST = [
  { id: 'gpu-0', memory: 24 * GIB, uuid: null },
  { id: 'gpu-1', memory: 48 * GIB, uuid: 'GPU-b' },
];
const DOCKER: DockerSettings = {
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
};

function probeOf(probe: Config['devices']['probe'], list: Config['devices']['list'] = LIST): Probe {
  const devices = { probe, command: 'nvidia-smi', list, budgetFraction: 0.9 };
  return createProbe(devices, DOCKER, createTestPlatform(), 'gateway-1');
}

describe('probes', () => {
  it.each(['static', 'simulated'] as const)(
    '%s reads what the configuration lists, and nobody looks twice',
    async (kind) => {
      const probe = probeOf(kind);
      expect(probe.kind).toBe(kind);
      expect(probe.observes).toBe(false);
      const unseen = { name: null, usedBytes: null, trouble: null };
      expect(await probe.read()).toEqual({
        devices: [
          { id: 'gpu-0', uuid: null, totalBytes: 24 * GIB, ...unseen },
          { id: 'gpu-1', uuid: 'GPU-b', totalBytes: 48 * GIB, ...unseen },
        ],
        processes: null,
        driverVersion: null,
      });
      await probe.close();
    },
  );

  it('none has no devices, whatever is listed', async () => {
    const probe = probeOf('none');
    expect(await probe.read()).toEqual({ devices: [], processes: null, driverVersion: null });
    expect(probe.detail).toBe('looks for no GPUs');
  });

  it.each(['nvidia-smi', 'docker'] as const)('%s looks', (kind) => {
    const probe = probeOf(kind);
    expect(probe.kind).toBe(kind);
    expect(probe.observes).toBe(true);
  });
});
