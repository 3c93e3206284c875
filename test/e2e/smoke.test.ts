/** The smoke script that ships, against a gateway with real processes as engines. */
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { startFleet } from '../support/simulated-fleet.ts';
import { ROOT } from '../support/source-tree.ts';

interface Run {
  readonly code: number | null;
  readonly lines: readonly string[];
}

async function smoke(env: Readonly<Record<string, string>>): Promise<Run> {
  const child = spawn(process.execPath, [join(ROOT, 'examples', 'smoke.mjs')], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, lines: output.trimEnd().split('\n') };
}

let gatewayId = '';

afterAll(async () => {
  await noEngineLeft(gatewayId);
});

describe('the smoke script', () => {
  it('walks from the list of models to a second model and back, and ends with 0 [item 145]', async () => {
    const models = ['one', 'two'].map((name) => ({ name, knobs: { START_MS: 100 }, keys: ['memory: 20GiB'] }));
    const devices = 'devices: { probe: simulated, list: [{ id: gpu-0, memory: 24GiB }] }\nlimits: { min_residency: 0 }';
    await using gateway = await startFleet(models, devices);
    gatewayId = gateway.gateway.id;
    const { code, lines } = await smoke({ GATEWAY_URL: gateway.url, CONCURRENCY: '3' });
    const steps = lines.map((line) => line.replace(/: .*/, ''));
    expect(steps).toEqual([
      'ok    model list is reachable',
      'ok    model list is not empty',
      'ok    status is well formed',
      'ok    GPU memory is known',
      'ok    one answers, cold or not',
      'ok    its engine is to be seen',
      'ok    its engine has GPUs of its own',
      'ok    one answers warm',
      'ok    one streams',
      'ok    3 requests at a time',
      'ok    two answers, cold or not',
      'ok    one answers again',
      'nothing failed',
    ]);
    expect(code).toBe(0);
    const skipping = await smoke({ GATEWAY_URL: gateway.url, SKIP_MODEL2: '1', SMOKE_MODEL: 'nobody' });
    expect(skipping.lines).toContain('skip  a second model: SKIP_MODEL2 is set');
    expect(skipping.lines.find((line) => line.startsWith('FAIL'))).toContain('nobody');
    expect(skipping.code).toBe(1);
  });

  it('ends with 1 where nothing answers as a gateway, and with 2 on a setting that is no number', async () => {
    const server = createServer((_request, response) => response.writeHead(404).end('not here')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { code, lines } = await smoke({ GATEWAY_URL: url });
    expect(lines).toEqual([expect.stringContaining('FAIL  model list is reachable: 404 not here')]);
    expect(code).toBe(1);
    expect((await smoke({ GATEWAY_URL: url, CONCURRENCY: 'many' })).code).toBe(2);
    server.close();
  });
});
