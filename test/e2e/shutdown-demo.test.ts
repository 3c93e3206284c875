/** `demo` is somebody's child: it does not stay behind when that somebody is gone. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { builtProgram } from '../support/built-program.ts';
import { Clients } from '../support/clients.ts';
import { enginesOf, isAlive, noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { GatewayProcess } from '../support/gateway-process.ts';

const PARENT = `
  require('node:child_process').spawn(process.execPath, [process.argv[1], 'demo'], { stdio: ['ignore', 'inherit', 'inherit'] });
  setInterval(() => undefined, 60000);
`;

it('demo ends with its engines when its parent is killed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vgw-demo-'));
  const env = {
    PATH: process.env['PATH'] ?? '',
    GATEWAY_LISTEN: '127.0.0.1:0',
    GATEWAY_STATE_DIR: join(folder, 'data'),
    FAKE_VLLM_START_MS: '200',
  };
  const child = spawn(process.execPath, ['-e', PARENT, builtProgram()], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  await using parent = new GatewayProcess(folder, child);
  await parent.listening();
  const { pid } = JSON.parse(readFileSync(join(parent.stateDir, 'gateway.lock'), 'utf8')) as { readonly pid: number };
  await using clients = new Clients(parent.url);
  expect((await clients.chat('llama-8b')).status).toBe(200);
  expect(await enginesOf(parent.gatewayId ?? '')).toHaveLength(1);
  try {
    await parent.kill();
    await eventually('the demo ends', async () => !(await isAlive(pid)));
    await noEngineLeft(parent.gatewayId ?? '', 0);
  } finally {
    if (await isAlive(pid)) process.kill(pid, 'SIGKILL');
  }
});
