import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { App } from './app.ts';
import { engineDied } from './death.ts';

/** Faults that are about a process that outlives its leader. */
const NEEDS_CHILD = ['orphan', 'setsid_orphan', 'half_dead'];

/**
 * A real child titled `VLLM::EngineCore`, in the leader's group, that holds the memory claim and watches nobody: it
 * outlives a leader that is killed. Only on request, since a second Node process costs 40 MB.
 */
export async function startCore(app: App): Promise<void> {
  const wanted = app.knobs.processes >= 2 || NEEDS_CHILD.some((name) => app.faults.has(name));
  if (!wanted) return;
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const script = fileURLToPath(new URL(`./engine-core.${extension}`, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, script, String(app.knobs.orphanMaxMs)], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    detached: app.faults.has('setsid_orphan'),
    env: { ...process.env, FAKE_VLLM_FAULT: '' },
  });
  child.once('exit', () => {
    if (app.state === 'ready') engineDied(app);
  });
  app.coreProcess = child;
  app.engineSpeaker = { name: 'EngineCore', pid: child.pid ?? process.pid };
  // It closes its end once it has its name.
  const sign = child.stdio[3];
  if (sign instanceof Readable) await once(sign.resume(), 'close');
}
