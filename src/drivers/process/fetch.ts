/** Runs what makes a model's files present: a child in a group of its own, whose output says how far it is. */
import type { FetchSpec } from '../../core/launch.ts';
import type { Child } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { LaunchError, type DriverContext, type FetchOptions } from '../driver.ts';
import { FetchProgress, fetchFailureText } from '../logs/fetch-progress.ts';
import { ReplicaLog } from '../logs/replica-log.ts';
import { resolveCommand } from './command.ts';
import { baseEnvironment, marks, processMark } from './environment.ts';
import { codeOf, spawnFailure } from './launch.ts';
import { stopTree } from './stop-tree.ts';

/** SIGTERM, and SIGKILL after a third of it. */
const END_TIMEOUT: Milliseconds = 6 * SECOND;
const FAILURE_LINES = 40;

/** Names what a gateway that was killed left behind: nobody waits for it any more. */
const FETCH_MARK = 'VGW_FETCH';

export class Fetcher {
  readonly #context: DriverContext;
  readonly #running = new Set<number>();

  constructor(context: DriverContext) {
    this.#context = context;
  }

  async fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: null }> {
    options.signal.throwIfAborted();
    if (spec.argv === null) return { image: null };
    const { platform, stateDir } = this.#context;
    const mark = { id: `fetch-${platform.random.hex(12)}`, generation: 0 };
    const path = `${stateDir}/logs/${mark.id}.log`;
    const log = new ReplicaLog(platform.files, platform.clock, path);
    const child = await this.#spawn(spec, spec.argv, mark, path);
    this.#running.add(child.pid);
    try {
      await this.#watch(child, processMark(this.#context.gatewayId, mark), log, options);
      return { image: null };
    } finally {
      this.#running.delete(child.pid);
      await platform.files.remove(path).catch(() => undefined);
    }
  }

  /** Ends downloads of an earlier gateway process. */
  async endLeftovers(): Promise<void> {
    const { subprocess } = this.#context.platform;
    for (const facts of await subprocess.findByEnvironment(FETCH_MARK, this.#context.gatewayId)) {
      if (this.#running.has(facts.group)) continue;
      subprocess.signal(facts.pid, 'SIGKILL');
    }
  }

  async #spawn(
    spec: FetchSpec,
    argv: readonly string[],
    mark: { readonly id: string; readonly generation: number },
    path: string,
  ): Promise<Child> {
    const { platform, stateDir, gatewayId } = this.#context;
    let output: number;
    try {
      await platform.files.makeFolder(`${stateDir}/logs`, 0o700);
      output = await platform.files.openAppend(path);
    } catch (error) {
      throw new LaunchError('driver_unavailable', `server.state_dir cannot be written (${codeOf(error)}).`);
    }
    const env = { ...baseEnvironment(platform.env), ...spec.env, ...marks(gatewayId, mark), [FETCH_MARK]: gatewayId };
    try {
      return await platform.subprocess.spawn(resolveCommand(argv, platform.executable), { env, output });
    } catch (error) {
      await platform.files.remove(path).catch(() => undefined);
      throw spawnFailure(error, argv[0] ?? '');
    } finally {
      await platform.files.closeDescriptor(output);
    }
  }

  async #watch(child: Child, mark: string, log: ReplicaLog, options: FetchOptions): Promise<void> {
    const { platform } = this.#context;
    const over = new AbortController();
    let live = true;
    const ended = child.exited.then((exit) => {
      live = false;
      return exit;
    });
    const progress = new FetchProgress(platform.clock, options.progress);
    const reading = this.#read(log, progress, () => live, over.signal);
    const aborted = abortOf(options.signal);
    try {
      const exit = await Promise.race([ended, aborted.promise]);
      await reading;
      if (exit.code === 0) return;
      const how = exit.signal === null ? `exit code ${exit.code ?? 'unknown'}` : `killed by ${exit.signal}`;
      const why = fetchFailureText(await log.tail(FAILURE_LINES));
      throw new LaunchError('model_files', `the files of the model could not be fetched (${how}): ${why}`);
    } finally {
      over.abort();
      aborted.dispose();
      await this.#end(child, mark);
      await reading;
    }
  }

  async #read(log: ReplicaLog, progress: FetchProgress, isLive: () => boolean, signal: AbortSignal): Promise<void> {
    for await (const line of log.follow({ tail: Number.MAX_SAFE_INTEGER, follow: true, signal, isLive })) {
      progress.line(line);
    }
  }

  /** The whole tree: a download may have workers that outlive it. */
  async #end(child: Child, mark: string): Promise<void> {
    const { platform } = this.#context;
    const facts = await platform.subprocess.inspect(child.pid).catch(() => undefined);
    const leader = facts === undefined ? null : { pid: child.pid, startTime: facts.startTime };
    const options = { timeout: END_TIMEOUT, starting: true, cutConnections: () => {} };
    await stopTree(platform, { leader, mark }, options);
  }
}

function abortOf(signal: AbortSignal): { readonly promise: Promise<never>; dispose(): void } {
  let dispose = (): void => {};
  const promise = new Promise<never>((_resolve, reject) => {
    const abort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    dispose = (): void => {
      signal.removeEventListener('abort', abort);
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
  promise.catch(() => undefined);
  return { promise, dispose };
}
