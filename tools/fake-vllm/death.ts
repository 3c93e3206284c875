import type { App } from './app.ts';
import { scaled } from './app.ts';
import { endProcess } from './exit.ts';
import { deathOfEngine, finalLines } from './log-lines.ts';

/** An abrupt end: nothing is told to anybody. A signal name instead of a code raises that signal. */
export function crash(app: App, code: number | string): void {
  app.log.error(`Fatal Python error: simulated crash of the engine\nProcess exits now (${code}).`);
  if (typeof code === 'string' && code.startsWith('SIG')) {
    app.vram?.release();
    process.removeAllListeners(code);
    process.kill(process.pid, code);
    return;
  }
  endProcess(app, Number(code));
}

/**
 * EngineCore died under a running server: clients get the error frame or the 500 at once, `/health` turns 503, the port
 * closes, and the server ends with exit code 0, as if all had gone well.
 */
export function engineDied(app: App): void {
  if (app.engine.dead) return;
  const busy = app.engine.runningCount > 0;
  deathOfEngine(app);
  app.engine.die();
  setTimeout(
    () => {
      app.state = 'closing';
      app.server.close();
      app.server.closeIdleConnections();
      setTimeout(
        () => {
          finalLines(app, false);
          endProcess(app, 0);
        },
        scaled(app, 200),
      );
    },
    scaled(app, busy ? 90 : 250),
  );
}

/** The leader is gone from one moment to the next, as by SIGKILL; a core process lives on. */
export function leaderVanishes(app: App): void {
  app.log.error('(simulated) the API server is killed; EngineCore is left alone');
  process.kill(process.pid, 'SIGKILL');
}
