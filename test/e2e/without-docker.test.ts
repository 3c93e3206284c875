/** Who has no engine in Docker pays nothing for it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startGateway } from '../support/gateway-process.ts';

/** Writes down at the end what was loaded: Node keeps modules of the old kind by their path. */
const TELL = `process.on('exit', () => {
  require('node:fs').writeFileSync(process.env.LOADED_FILE, Object.keys(require.cache).join('\\n'));
});`;
const YAML = `
devices: { probe: none }
drivers: { default: process, docker: { socket: /nowhere/docker.sock } }
models: { only: { command: [sleep, '60'] } }
`;

it('a gateway without models in Docker never loads its client', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-loaded-'));
  try {
    const [hook, file] = [join(folder, 'tell.cjs'), join(folder, 'loaded')];
    writeFileSync(hook, TELL);
    await using gateway = await startGateway({
      yaml: YAML,
      env: { NODE_OPTIONS: `--require ${hook}`, LOADED_FILE: file },
    });
    expect((await fetch(`${gateway.url}/gateway/status`)).status).toBe(200);
    gateway.signal('SIGTERM');
    expect(await gateway.exit).toEqual({ code: 0, signal: null });
    const loaded = readFileSync(file, 'utf8');
    // The list is no empty one: others of the same kind are on it.
    expect(loaded).toContain('/undici/');
    expect(loaded).not.toMatch(/dockerode|docker-modem|grpc|protobuf/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
