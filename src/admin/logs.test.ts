import { describe, expect, it } from 'vitest';
import { errorAnswer } from './contract.ts';
import { adminBench } from '../../test/support/admin-bench.ts';
import { fleetSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';

describe('logs of a replica', () => {
  it('are lines of text, the last hundred unless asked otherwise', async () => {
    const bench = await adminBench();
    bench.control.lines = async function* () {
      yield 'INFO loading';
      yield 'INFO ready';
    };
    const response = await bench.ask('/gateway/replicas/llama-1/logs');
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await response.text()).toBe('INFO loading\nINFO ready\n');
    expect(bench.control.askedLogs[0]).toMatchObject({ replica: 'llama-1', tail: 100, follow: false });
    await bench.ask('/gateway/replicas/org%2Fx-2/logs?tail=5&follow=true');
    expect(bench.control.askedLogs[1]).toMatchObject({ replica: 'org/x-2', tail: 5, follow: true });
  });

  it('end when the reader leaves and when the control plane closes', async () => {
    const bench = await adminBench();
    let ended = 0;
    bench.control.lines = async function* (_, { signal }) {
      try {
        yield 'first';
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      } finally {
        ended += 1;
      }
    };
    const left = await bench.ask('/gateway/replicas/llama-1/logs?follow=true');
    await left.body?.cancel();
    await expect.poll(() => ended).toBe(1);
    const open = await bench.ask('/gateway/replicas/llama-1/logs?follow=true');
    bench.admin.close();
    expect(await open.text()).toBe('first\n');
    expect(ended).toBe(2);
  });

  it.each(['-1', '1.5', 'all', '10001', '1e3'])('refuse tail=%s', async (tail) => {
    const response = await (await adminBench()).ask(`/gateway/replicas/llama-1/logs?tail=${tail}`);
    expect(response.status).toBe(400);
    expect(errorAnswer.parse(await response.json()).error.param).toBe('tail');
  });

  it('name the replicas that there are when it is none of them', async () => {
    const bench = await adminBench();
    bench.control.fleet = fleetSnapshot({ replicas: [replicaSnapshot('llama-7', 'llama')] });
    const response = await bench.ask('/gateway/replicas/llama-1/logs');
    expect(response.status).toBe(404);
    expect(errorAnswer.parse(await response.json()).error.message).toContain('llama-7');
  });

  it('end where they can no longer be read, and the log of the gateway says why', async () => {
    const bench = await adminBench();
    bench.control.lines = async function* () {
      yield 'one';
      throw new Error('disk gone');
    };
    expect(await (await bench.ask('/gateway/replicas/llama-1/logs')).text()).toBe('one\n');
    expect(bench.logLines.join('')).toContain('disk gone');
  });
});
