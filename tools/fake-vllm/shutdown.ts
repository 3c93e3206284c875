import type { App } from './app.ts';
import { scaled, sleepFor } from './app.ts';
import { endProcess } from './exit.ts';
import * as lines from './log-lines.ts';

/** Phases in which a signal is lost: EngineCore is being started and the leader waits for it. */
const LOST = new Set(['engine', 'load', 'compile', 'profile', 'kv', 'graphs', 'serve']);

/**
 * SIGTERM and SIGINT by phase, as 0.32 treats them: during the imports the signal kills, then it interrupts and the
 * process dies by SIGINT, while EngineCore starts it is lost, and once ready it is one of three endings.
 */
export function handleSignals(app: App): void {
  let stopping = false;
  const received = (): void => {
    if (app.faults.has('sigterm_ignored')) return;
    if (app.state === 'starting') {
      if (LOST.has(app.phase) || app.faults.has('sigterm_lost_during_start')) return;
      if (app.phase === 'imports') dieBy(app, 'SIGTERM');
      else interrupt(app);
      return;
    }
    if (stopping) return;
    stopping = true;
    void shutDown(app);
  };
  process.on('SIGTERM', received);
  process.on('SIGINT', received);
}

function dieBy(app: App, signal: 'SIGTERM' | 'SIGINT'): void {
  app.vram?.release();
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

function interrupt(app: App): void {
  setTimeout(
    () => {
      lines.interrupted(app);
      dieBy(app, 'SIGINT');
    },
    scaled(app, Math.min(150, app.knobs.startMs / 10)),
  );
}

async function shutDown(app: App): Promise<void> {
  const { shutdownTimeout } = app.options;
  const drains = shutdownTimeout > 0;
  lines.shutdownStarts(app, drains ? 'drain' : 'abort');
  app.state = 'draining';
  if (drains) {
    // The full time, idle or not: EngineCore waits for a worker that is only killed at the end.
    await sleepFor(scaled(app, shutdownTimeout * 1000));
    lines.engineForced(app);
    if (app.engine.runningCount + app.engine.waitingCount > 0) {
      app.engine.vanish();
      await neverEnds(app);
      return;
    }
    await close(app, 200);
    return;
  }
  lines.engineForced(app);
  await sleepFor(scaled(app, 25));
  const busy = app.engine.runningCount + app.engine.waitingCount;
  if (busy > 0 && app.faults.has('shutdown_never_ends')) {
    app.engine.vanish();
    await neverEnds(app);
    return;
  }
  if (busy > 0 && app.faults.has('shutdown_abort')) {
    lines.engineAborts(app, busy);
    app.engine.abortAll();
  } else if (busy > 0) {
    lines.deathOfEngine(app);
    app.engine.die();
  }
  await close(app, busy > 0 ? 100 : 150);
}

async function close(app: App, ms: number): Promise<void> {
  killCore(app);
  lines.clientStopped(app);
  app.state = 'closing';
  app.server.close();
  app.server.closeIdleConnections();
  await sleepFor(scaled(app, ms));
  lines.finalLines(app, true);
  endProcess(app, 0);
}

/** uvicorn waits for answers that nobody will finish: the port is closed, the clients hear nothing. */
async function neverEnds(app: App): Promise<void> {
  killCore(app);
  lines.clientStopped(app);
  lines.waitsForClients(app);
  app.state = 'closing';
  await new Promise<void>((done) => {
    app.server.close(() => done());
    app.server.closeIdleConnections();
  });
  lines.finalLines(app, true);
  endProcess(app, 0);
}

function killCore(app: App): void {
  app.coreProcess?.removeAllListeners('exit');
  app.coreProcess?.kill('SIGKILL');
}
