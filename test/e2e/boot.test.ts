/** From the first moment on the gateway answers, and ends when it is told to, however long its devices keep it waiting. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { Clients, errorOf } from '../support/clients.ts';
import { eventually } from '../support/eventually.ts';
import { spawnGateway } from '../support/gateway-process.ts';
import { watchedGpus } from '../support/watched-gpus.ts';

/** Processes that this gateway's environment was handed down to. */
function processesOf(name: string, value: string): number[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${name}=${value}`) ? [Number(pid)] : [];
    } catch {
      return [];
    }
  });
}

describe('a gateway whose GPUs do not answer', () => {
  it('listens at once, ends at the first signal, and leaves nothing that still asks them', async () => {
    using gpus = watchedGpus('deaf', [20]);
    gpus.misbehave('hang');
    const file = gpus.env['FAKE_VLLM_VRAM_FILE'] ?? '';
    await using gateway = await spawnGateway({
      yaml: gpus.yaml([{ name: 'one', keys: { preload: true } }]),
      env: gpus.env,
    });
    await gateway.listening();
    const health = await fetch(`${gateway.url}/healthz`);
    expect(health.status).toBe(200);
    const said = (part: string): boolean => gateway.log.some(({ msg }) => msg.includes(part));
    await eventually('they are asked', () => processesOf('FAKE_VLLM_VRAM_FILE', file).length > 1);
    expect(said('cannot be read')).toBe(false);
    await using clients = new Clients(gateway.url);
    const waiting = clients.chat('one');
    await eventually('it waits', async () => {
      const { models } = (await gateway.status()) as unknown as StatusAnswer;
      return models['one']?.queued === 1;
    });
    gateway.signal('SIGTERM');
    const refused = await waiting;
    expect([refused.status, errorOf(refused)['code']]).toEqual([503, 'shutting_down']);
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
    expect([said('cannot be read'), said('stopped')]).toEqual([false, true]);
    expect(gateway.decisions('replica.starting')).toEqual([]);
    await eventually('nothing is left', () => processesOf('FAKE_VLLM_VRAM_FILE', file).length === 0);
  });
});
