import type { App } from './app.ts';

/** Ends the process and what belongs to it. */
export function endProcess(app: App, code: number): never {
  app.coreProcess?.removeAllListeners('exit');
  if (app.coreProcess?.exitCode === null) app.coreProcess.kill('SIGKILL');
  app.vram?.release();
  process.exit(code);
}
