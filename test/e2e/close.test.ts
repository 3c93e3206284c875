/** The end of a gateway at its worst moments, in this process. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Platform } from '../../src/platform/platform.ts';
import { enginesOf, killEngines } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { startFleet, statusOf } from '../support/simulated-fleet.ts';

const ids = new Set<string>();
afterEach(async () => {
  for (const id of ids) await killEngines(id);
});

/** A system on which a process takes until `letGo` to come into being. */
function slowSpawn(): {
  readonly platform: (real: Platform) => Platform;
  readonly asked: () => boolean;
  letGo: () => void;
} {
  let letGo: () => void = () => undefined;
  let asked = false;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const platform = (real: Platform): Platform => ({
    ...real,
    subprocess: {
      ...real.subprocess,
      spawn: async (argv, options) => {
        asked = true;
        await gate;
        return real.subprocess.spawn(argv, options);
      },
    },
  });
  return { platform, asked: () => asked, letGo };
}

function remember(gateway: TestGateway): string {
  const { id } = gateway.gateway;
  ids.add(id);
  return id;
}

describe('an end at once', () => {
  it('while an engine is being launched leaves no engine behind', async () => {
    const machine = slowSpawn();
    await using gateway = await startFleet([{ name: 'one' }], '', { platform: machine.platform });
    const id = remember(gateway);
    void gateway.post('/v1/chat/completions', { model: 'one', messages: [] }).catch(() => undefined);
    await eventually('the launch is under way', machine.asked);
    const closed = gateway.gateway.close();
    machine.letGo();
    await closed;
    expect(await enginesOf(id)).toEqual([]);
  });

  it('while an engine is being launched leaves it when engines are to stay', async () => {
    const machine = slowSpawn();
    const server = '  on_shutdown: leave\n';
    await using gateway = await startFleet([{ name: 'one' }], '', { platform: machine.platform, server });
    const id = remember(gateway);
    void gateway.post('/v1/chat/completions', { model: 'one', messages: [] }).catch(() => undefined);
    await eventually('the launch is under way', machine.asked);
    const closed = gateway.gateway.close();
    machine.letGo();
    await closed;
    await eventually('it runs', async () => (await enginesOf(id)).length > 0);
  });

  it('gives the lock back though an engine cannot be killed', async () => {
    const refusing = (real: Platform): Platform => ({
      ...real,
      subprocess: {
        ...real.subprocess,
        signal: (pid, name) => {
          if (name === 'SIGKILL') throw Object.assign(new Error('not permitted'), { code: 'EPERM' });
          return real.subprocess.signal(pid, name);
        },
      },
    });
    await using gateway = await startFleet([{ name: 'one' }], '', { platform: refusing });
    remember(gateway);
    await gateway.post('/v1/chat/completions', { model: 'one', messages: [{ role: 'user', content: 'hi' }] });
    await gateway.gateway.close();
    await expect(fetch(`${gateway.url}/healthz`)).rejects.toThrow();
  });
});

describe('a drain', () => {
  it('that had to cut a plain answer says so', async () => {
    await using gateway = await startFleet([{ name: 'one', knobs: { TTFT_MS: 60_000 } }], '', {
      server: '  shutdown_timeout: 1s\n',
    });
    remember(gateway);
    const answer = gateway.post('/v1/chat/completions', { model: 'one', messages: [{ role: 'user', content: 'hi' }] });
    await eventually('it runs', async () => (await statusOf(gateway)).models['one']?.in_flight === 1);
    expect(await gateway.gateway.drain()).toBe('cut');
    expect((await answer).status).toBe(503);
  });
});
