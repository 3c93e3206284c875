/** `serve` and `demo`: from the configuration to a gateway that runs until it is told to stop. */
import type { Config } from '../config/config.ts';
import { effectiveConfig } from '../config/effective.ts';
import { loadConfig, type LoadResult } from '../config/load.ts';
import { renderProblem } from '../config/problems.ts';
import { GatewayFailure } from '../errors.ts';
import { UnknownDevices, type ConfigSource } from '../gateway.ts';
import { StateDirHeld } from '../platform/state-dir.ts';
import { SECOND } from '../units.ts';
import type { Milliseconds } from '../units.ts';
import { demoBanner, urlOf } from './banner.ts';
import { writeProblems } from './problems.ts';
import { CliError, EXIT } from './world.ts';
import type { ServedGateway, SignalName, World } from './world.ts';

export interface ServeFlags {
  readonly config?: string;
  readonly listen?: string;
  readonly strict?: boolean;
  readonly logLevel?: string;
  /** For a gateway that another program started for itself alone. */
  readonly endWithParent?: boolean;
}

/** npm and process groups deliver one signal twice: a second one sooner than this is the first again. */
const SAME_SIGNAL: Milliseconds = SECOND;
const PARENT_CHECK_EVERY: Milliseconds = SECOND;
/** The parent of daemons and of a container's first process: nobody who could go away. */
const INIT_PID = 1;
/** An end at once may take this long: sockets closed, engines killed. */
const CLOSE_LIMIT: Milliseconds = 5 * SECOND;

const SECOND_SIGNAL_EXIT: Readonly<Record<SignalName, number>> = {
  SIGHUP: EXIT.hangup,
  SIGINT: EXIT.interrupted,
  SIGTERM: EXIT.terminated,
};

export async function serve(world: World, flags: ServeFlags, demo: boolean): Promise<number> {
  const { platform, cwd, err, version } = world;
  const load = (running?: Config): Promise<LoadResult> =>
    loadConfig({
      flags: demo ? { ...flags, config: world.demoFile } : flags,
      env: platform.env,
      files: platform.files,
      cwd,
      system: platform.system,
      demo,
      running,
    });
  const result = await load();
  const { config } = result;
  if (!config) {
    writeProblems(result.problems, err);
    return EXIT.usage;
  }
  // Before the first engine can start: whoever stops us from now on finds the stop prepared.
  using stop = new StopRequests(world, demo, demo || flags.endWithParent === true);
  const served = await open(world, config, { load, files: result.files });
  const { gateway, log } = served;
  stop.onReload(() => void reload(served));
  try {
    logConfiguration(served, config, version, demo);
    const started = gateway.start(({ listen, adminListen }) => {
      log.info(
        { url: urlOf(listen), ...(adminListen ? { admin: urlOf(adminListen) } : {}), gateway: gateway.id },
        'listening',
      );
      if (!demo) return;
      served.flush();
      world.out.write(demoBanner(config, listen, version, world.out));
    });
    return await runUntilStopped(world, served, stop, started);
  } catch (error) {
    await closeSoon(world, served);
    throw explained(error, config);
  } finally {
    served.flush();
  }
}

/** What came of it was told by the gateway. */
async function reload({ gateway, log }: ServedGateway): Promise<void> {
  try {
    await gateway.reload('signal');
  } catch (error) {
    if (error instanceof GatewayFailure) log.info({ reason: error.message }, 'SIGHUP: nothing is reloaded');
    else log.error({ err: error }, 'SIGHUP: the configuration could not be looked at');
  }
}

async function open(world: World, config: Config, source: ConfigSource): Promise<ServedGateway> {
  try {
    return await world.openGateway(config, source);
  } catch (error) {
    throw explained(error, config);
  }
}

/** What the surroundings refuse is told in a sentence; anything else is a bug and passes. */
function explained(error: unknown, { server }: Config): unknown {
  if (error instanceof UnknownDevices) {
    const hint = 'Write one of those into pools or devices (`nvidia-smi -L` shows them), or leave it out.';
    return new CliError(error.message, { exitCode: EXIT.usage, hint });
  }
  if (error instanceof StateDirHeld) return new CliError(error.message, { exitCode: EXIT.occupied });
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error;
  // Node's own name for a call that was wrong, which is our fault.
  if (error.code.startsWith('ERR_')) return error;
  const hint = PORT_HINTS[error.code];
  const syscall = 'syscall' in error ? error.syscall : undefined;
  if (hint !== undefined && (syscall === 'listen' || syscall === 'bind' || syscall === 'getaddrinfo')) {
    const where = server.adminListen ? `${urlOf(server.listen)} or ${urlOf(server.adminListen)}` : urlOf(server.listen);
    return new CliError(`Cannot listen on ${where}: ${error.message}.`, { exitCode: EXIT.occupied, hint });
  }
  const remedy =
    error.code === 'ENOSPC'
      ? `The disk of ${server.stateDir} is full: free some, or name a folder on another disk in server.state_dir (GATEWAY_STATE_DIR).`
      : `state_dir is ${server.stateDir}; it must be writable and used by this gateway alone.`;
  return new CliError(`Cannot start: ${error.message}`, { exitCode: EXIT.occupied, hint: remedy });
}

const PORT_HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program has this port. Name a free one with --listen HOST:PORT or GATEWAY_LISTEN.',
  EACCES: 'This port needs more rights. Name one above 1023 with --listen HOST:PORT or GATEWAY_LISTEN.',
  EADDRNOTAVAIL: 'This machine has no such address. Name another with --listen HOST:PORT or GATEWAY_LISTEN.',
  ENOTFOUND: 'This name has no address. Name another with --listen HOST:PORT or GATEWAY_LISTEN.',
};

/** One line per section, so that each can be read; secrets are not in it. Whoever tries the demo is spared it. */
function logConfiguration({ log }: ServedGateway, config: Config, version: string, demo: boolean): void {
  const say = demo ? log.debug : log.info;
  log.info({ version, source: config.source ?? 'the environment' }, 'vLLM Gateway starts');
  const { models, source, ...sections } = effectiveConfig(config);
  say({ source }, 'configuration: source');
  for (const [section, value] of Object.entries(sections)) say({ [section]: value }, `configuration: ${section}`);
  for (const [model, value] of Object.entries(models as object)) say({ model, ...value }, 'configuration: model');
  for (const problem of config.problems) {
    const { severity, code, path } = problem;
    log[severity === 'error' ? 'error' : 'warn']({ code, path }, renderProblem(problem));
  }
}

/** Rejects as the start does. A stop need not wait for the start: devices and daemons may keep it waiting for long. */
async function runUntilStopped(
  world: World,
  served: ServedGateway,
  stop: StopRequests,
  started: Promise<unknown>,
): Promise<number> {
  const { gateway, log } = served;
  const crashed = world.crashed.then((error) => ({ kind: 'crashed', error }) as const);
  const failed = started.then(() => new Promise<never>(() => undefined));
  const first = await Promise.race([stop.first, crashed, failed]);
  if (first.kind === 'crashed') return crash(world, served, first.error);
  log.info({ reason: first.reason }, 'stopping: accepted requests are finished first');
  const drained = gateway.drain().then((how) => ({ kind: 'drained', how }) as const);
  const end = await Promise.race([drained, stop.second, crashed]);
  if (end.kind === 'crashed') return crash(world, served, end.error);
  if (end.kind === 'signal') {
    log.warn({ signal: end.signal }, 'stopping at once');
    await closeSoon(world, served);
    return SECOND_SIGNAL_EXIT[end.signal];
  }
  if (end.how === 'clean') log.info({}, 'stopped');
  else log.warn({}, 'stopped: requests were cut off because shutdown_timeout was over');
  return end.how === 'clean' ? EXIT.done : EXIT.problem;
}

async function crash(world: World, served: ServedGateway, error: unknown): Promise<number> {
  served.log.error({ err: error }, 'a bug of the gateway: it ends, and its engines by policy');
  await closeSoon(world, served);
  return EXIT.bug;
}

async function closeSoon(world: World, { gateway }: ServedGateway): Promise<void> {
  const closed = new AbortController();
  const limit = world.platform.clock.sleep(CLOSE_LIMIT, closed.signal).catch(() => undefined);
  await Promise.race([gateway.close().finally(() => closed.abort()), limit]);
}

type FirstStop = { readonly kind: 'stop'; readonly reason: string };
type SecondStop = { readonly kind: 'signal'; readonly signal: SignalName };

/** Signals, and for `demo` the end of the parent process. SIGHUP reloads where no terminal was closed. */
class StopRequests {
  readonly first: Promise<FirstStop>;
  readonly second: Promise<SecondStop>;
  readonly #world: World;
  readonly #listening: Disposable[];
  #parentCheck: Disposable | undefined;
  #firstAt: Milliseconds | undefined;
  #beginStop: (stop: FirstStop) => void = () => undefined;
  #endNow: (stop: SecondStop) => void = () => undefined;
  #reload: (() => void) | undefined;
  #reloadAsked = false;

  constructor(world: World, demo: boolean, endsWithParent: boolean) {
    this.#world = world;
    this.first = new Promise((resolve) => {
      this.#beginStop = resolve;
    });
    this.second = new Promise((resolve) => {
      this.#endNow = resolve;
    });
    const endsOnHangup = demo || world.out.isTerminal;
    this.#listening = [
      world.onSignal('SIGTERM', () => this.#signalled('SIGTERM')),
      world.onSignal('SIGINT', () => this.#signalled('SIGINT')),
      // Listening is also what keeps a gateway in the background alive when the terminal closes.
      world.onSignal('SIGHUP', () => {
        if (endsOnHangup) this.#signalled('SIGHUP');
        else if (this.#reload) this.#reload();
        else this.#reloadAsked = true;
      }),
    ];
    if (endsWithParent) this.#watchParent(world.parentPid());
  }

  /** `run`: now, when it was asked for already, and whenever it is. */
  onReload(run: () => void): void {
    this.#reload = run;
    if (this.#reloadAsked) run();
    this.#reloadAsked = false;
  }

  [Symbol.dispose](): void {
    for (const listening of this.#listening) listening[Symbol.dispose]();
    this.#parentCheck?.[Symbol.dispose]();
  }

  #signalled(signal: SignalName): void {
    const now = this.#world.platform.clock.monotonic();
    if (this.#firstAt === undefined) this.#stop(signal);
    else if (now - this.#firstAt >= SAME_SIGNAL) this.#endNow({ kind: 'signal', signal });
  }

  #stop(reason: string): void {
    this.#firstAt ??= this.#world.platform.clock.monotonic();
    this.#beginStop({ kind: 'stop', reason });
  }

  /** npm may be killed without a word to us; simulated engines on a machine nobody looks at help no one. */
  #watchParent(parent: number): void {
    if (parent === INIT_PID) return;
    this.#parentCheck = this.#world.platform.clock.after(PARENT_CHECK_EVERY, () => {
      if (this.#world.parentPid() === parent) this.#watchParent(parent);
      else this.#stop('the parent process is gone');
    });
  }
}
