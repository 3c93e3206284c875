#!/usr/bin/env node
import { parseServeArguments, type ServeArguments, UsageError } from './argv.ts';
import { type App, scaled, shortId, sleepFor, VERSION } from './app.ts';
import { engineDied, crash } from './death.ts';
import { cacheConfig } from './cache-config.ts';
import { Engine } from './engine.ts';
import { Faults } from './faults.ts';
import { fetchModel } from './fetch.ts';
import { type Knobs, readKnobs } from './knobs.ts';
import { Log } from './log.ts';
import { serveLines } from './log-lines.ts';
import { Metrics } from './metrics.ts';
import { readOptions, type ServeOptions } from './options.ts';
import { PHASES, start } from './phases.ts';
import { routesOf } from './routes/table.ts';
import { makeServer } from './server.ts';
import { endProcess } from './exit.ts';
import { portInUse, serverFails } from './tracebacks.ts';
import { handleSignals } from './shutdown.ts';
import { Stats } from './stats.ts';

async function main(): Promise<void> {
  const [command, repo] = process.argv.slice(2);
  if (command === 'fetch') process.exit(await fetchModel(repo ?? '', process.env));
  process.title = 'vllm serve (simulated)';
  const knobs = readKnobs(process.env);
  const faults = new Faults(knobs.fault);
  const log = new Log(knobs.label);
  const app = makeApp(await readLaunch(knobs, log), knobs, faults, log);
  handleSignals(app);
  const tokens = await start(app);
  equip(app, tokens);
  await listen(app);
  ready(app);
}

/** Arguments are looked at only after the imports, as in the real server. */
async function readLaunch(knobs: Knobs, log: Log): Promise<ServeOptions> {
  let args: ServeArguments;
  try {
    args = parseServeArguments(process.argv.slice(2));
    return readOptions(args, knobs, process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    await sleepFor(scaled({ knobs }, knobs.startMs * PHASES.imports) - performance.now());
    log.error(error.usage);
    log.error(error.message);
    process.exit(2);
  }
}

function makeApp(options: ServeOptions, knobs: Knobs, faults: Faults, log: Log): App {
  const metrics = new Metrics(options.servedNames[0] ?? '', options.maxModelLen, {});
  const app: Omit<App, 'server'> = {
    options,
    knobs,
    faults,
    log,
    stats: new Stats(),
    api: { name: 'APIServer', pid: process.pid },
    engineSpeaker: { name: 'EngineCore', pid: process.pid },
    metrics,
    engine: new Engine(options.maxNumSeqs, 0, metrics),
    vram: undefined,
    coreProcess: undefined,
    phase: 'imports',
    state: 'starting',
    sleepLevel: 0,
    awakeTags: new Set(),
    awakeMib: 0,
    weightsLost: false,
    fingerprint: `vllm-${VERSION}-${shortId().slice(0, 8)}`,
    responses: new Map(),
    loras: new Map(),
    taken: 0,
  };
  // The server's routes need the application and the application its server.
  const whole = app as App;
  whole.server = makeServer(whole);
  return whole;
}

/** Metrics and engine once the size of the KV cache is known. */
function equip(app: App, tokens: number): void {
  const { options } = app;
  app.metrics = new Metrics(options.servedNames[0] ?? '', options.maxModelLen, cacheConfig(options, tokens));
  if (options.on('enable-lora')) app.metrics.loras(options.given.get('max-loras'), []);
  app.engine = new Engine(options.maxNumSeqs, tokens, app.metrics);
}

function listen(app: App): Promise<void> {
  const { host, port, uds } = app.options;
  serveLines(
    app,
    routesOf(app).map((route) => `${route.path}, Methods: ${route.methods.join(', ')}`),
  );
  return new Promise((done) => {
    const failed = (error: Error): void => {
      serverFails(app, 'code' in error && error.code === 'EADDRINUSE' ? portInUse : String(error));
      endProcess(app, 1);
    };
    app.server.once('error', failed);
    const listening = (): void => {
      app.server.off('error', failed);
      done();
    };
    if (uds === undefined) app.server.listen(port, host, 2048, listening);
    else app.server.listen(uds, 2048, listening);
  });
}

function ready(app: App): void {
  app.state = 'ready';
  const { knobs, faults } = app;
  if (knobs.logEveryMs > 0) {
    let count = 0;
    setInterval(
      () => {
        count += 1;
        app.log.line(app.api, 'INFO', 'loggers.py:335', `Engine 000: simulated line ${count}`);
      },
      scaled(app, knobs.logEveryMs),
    ).unref();
  }
  const dies = faults.number('die_at_ready_after', 100);
  if (dies === undefined) return;
  const code = faults.text('die_at_ready_after', 1) ?? '1';
  setTimeout(() => (code === '0' ? engineDied(app) : crash(app, code)), scaled(app, dies));
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
