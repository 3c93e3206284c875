#!/usr/bin/env node
/** The program: the real machine around the command line. */
import { readFileSync, writeSync } from 'node:fs';
import { extname } from 'node:path';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { measure } from './bench/measure.ts';
import { runCli } from './cli/run-cli.ts';
import { EXIT } from './cli/world.ts';
import type { OutputStream, ServedGateway, World } from './cli/world.ts';
import type { Config } from './config/config.ts';
import { logSecrets } from './config/log-secrets.ts';
import { checkMachine } from './doctor/check-machine.ts';
import { examine } from './doctor/examine.ts';
import { surveyMachine } from './doctor/survey.ts';
import { createGateway, type ConfigSource } from './gateway.ts';
import { planOnThisMachine } from './offline-plan.ts';
import { systemMachine } from './platform/machine.ts';
import { createPlatform } from './platform/system.ts';
import { createTelemetry } from './telemetry/create-telemetry.ts';

const STDOUT = 1;
const STDERR = 2;
const COLUMNS_WITHOUT_TERMINAL = 80;
const ROWS_WITHOUT_TERMINAL = 24;
/** Milliseconds that the end of the engines may take after a bug. */
const CRASH_LIMIT = 10_000;
const KEEP_ALIVE_EVERY = 60_000;

/** The package's folder: above `src` in a checkout, above `dist/src` when built. */
function findPackage(): { readonly root: URL; readonly version: string } {
  for (const up of ['../', '../../']) {
    const root = new URL(up, import.meta.url);
    try {
      const { name, version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as Record<
        string,
        string
      >;
      if (name === 'vllm-gateway' && version !== undefined) return { root, version };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  throw new Error('package.json of vllm-gateway is not above this file: the installation is incomplete');
}

function wantsColour(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR: none, FORCE_COLOR: forced, TERM: terminal } = process.env;
  if (none) return false;
  if (forced && forced !== '0') return true;
  return stream.isTTY && terminal !== 'dumb';
}

function outputStream(stream: NodeJS.WriteStream): OutputStream {
  const colour = wantsColour(stream);
  return {
    write: (text) => void (ending ? writeSync(stream === process.stdout ? STDOUT : STDERR, text) : stream.write(text)),
    isTerminal: stream.isTTY,
    get columns() {
      return stream.columns || COLUMNS_WITHOUT_TERMINAL;
    },
    get rows() {
      return stream.rows || ROWS_WITHOUT_TERMINAL;
    },
    onResize: (run) => {
      stream.on('resize', run);
      return { [Symbol.dispose]: () => void stream.off('resize', run) };
    },
    style: (name, text) => (colour ? styleText(name, text, { validateStream: false }) : text),
  };
}

const { root, version } = findPackage();
const platform = createPlatform();
const here = { platform, machine: systemMachine };
/** From now on only what is written at once is written at all. */
let ending = false;
const outputGone = new AbortController();
const out = outputStream(process.stdout);
for (const stream of [process.stdout, process.stderr]) {
  // EPIPE: `vllm-gateway logs -f | head` has seen enough.
  stream.on('error', () => outputGone.abort());
}

let serving = false;

const atEnd = new Set<() => void>();

/** Gives a terminal back before anything is written about the end. */
function beforeEnd(): void {
  ending = true;
  for (const run of atEnd) run();
  atEnd.clear();
}
process.once('exit', beforeEnd);

function readKeys(run: (key: string) => void): Disposable {
  const keys = process.stdin;
  keys.setRawMode(true);
  const onEnd = (): void => void keys.setRawMode(false);
  atEnd.add(onEnd);
  // Keys that are typed quickly come together.
  const onData = (text: string): void => {
    for (const key of text) run(key);
  };
  keys.setEncoding('utf8').on('data', onData).resume();
  return {
    [Symbol.dispose]: () => {
      atEnd.delete(onEnd);
      keys.off('data', onData).pause();
      onEnd();
    },
  };
}

async function openGateway(config: Config, source: ConfigSource): Promise<ServedGateway> {
  serving = true;
  const telemetry = createTelemetry({
    level: config.log.level,
    format: config.log.format,
    output: { descriptor: STDOUT, isTerminal: isatty(STDOUT), colour: wantsColour(process.stdout) },
    secrets: logSecrets(config, platform.env),
    clock: platform.clock,
    isModel: (name) => config.models.has(name),
    processMetrics: true,
  });
  process.once('exit', () => telemetry.flush());
  const dashboard = fileURLToPath(new URL('dist/web', root));
  // Out of the hands of whoever asked for the decision, who would take it for a fault of one request.
  const bug = (error: unknown): void =>
    queueMicrotask(() => {
      throw error;
    });
  const workerProgram = fileURLToPath(new URL(`worker${extname(fileURLToPath(import.meta.url))}`, import.meta.url));
  const pages = { dashboard, workerProgram };
  const mine = { config, platform, telemetry, version, pid: process.pid, source, bug, ...pages };
  const gateway = await createGateway(mine);
  return { gateway, log: telemetry.log, flush: () => telemetry.flush() };
}

const crashed = new Promise<unknown>((resolve) => {
  // A broken invariant, or a rejection that nobody awaits: nothing can be trusted any more. A served gateway ends its
  // engines first; whatever hangs after that must not keep the process.
  process.on('uncaughtException', (error) => {
    if (!serving) beforeEnd();
    process.stderr.write(internalError(error));
    if (!serving) process.exit(EXIT.bug);
    setTimeout(() => process.exit(EXIT.bug), CRASH_LIMIT).unref();
    resolve(error);
  });
});

function internalError(error: unknown): string {
  return `vllm-gateway: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
}

const world: World = {
  platform,
  out,
  err: outputStream(process.stderr),
  fetch: globalThis.fetch,
  cwd: process.cwd(),
  version,
  demoFile: fileURLToPath(new URL('examples/demo.yaml', root)),
  openGateway,
  planOffline: (config, only, note) => planOnThisMachine({ config, platform, note }, only),
  examine: (loaded) => examine(loaded, here),
  checkMachine: (config) => checkMachine(config, here),
  survey: () => surveyMachine(here),
  measure: (note, signal) =>
    measure({ ...here, program: [process.execPath, ...process.execArgv, process.argv[1] ?? ''], note, signal }),
  onKey: process.stdin.isTTY ? readKeys : undefined,
  onEnd: (run) => {
    atEnd.add(run);
    return { [Symbol.dispose]: () => void atEnd.delete(run) };
  },
  onSignal: (name, run) => {
    process.on(name, run);
    return { [Symbol.dispose]: () => void process.off(name, run) };
  },
  parentPid: () => process.ppid,
  crashed,
  outputGone: outputGone.signal,
};

// Node would open a debugger to whoever reaches its port, with every key in reach.
process.on('SIGUSR1', () => undefined);

// The platform's timers keep no process alive, and a drain waits on nothing else: the command itself does.
setInterval(() => undefined, KEEP_ALIVE_EVERY);
try {
  process.exit(await runCli(process.argv.slice(2), world));
} catch (error) {
  beforeEnd();
  process.stderr.write(internalError(error));
  process.exit(EXIT.bug);
}
