/** Runs engines as containers of a Docker daemon. They outlive the gateway; what is needed to know them again is in their labels. */
import type { FoundReplica } from '../../core/events.ts';
import type { FetchSpec, LaunchSpec } from '../../core/launch.ts';
import type { Endpoint, ReplicaRef } from '../../core/state.ts';
import type {
  Driver,
  DriverContext,
  ExitReport,
  FetchOptions,
  LogOptions,
  ReplicaIdentity,
  StopOptions,
} from '../driver.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { keyOf } from '../logs/names.ts';
import { DockerClient, type ContainerFacts } from './client.ts';
import { DockerFailure, failureOf } from './failures.ts';
import { Fetcher } from './fetcher.ts';
import {
  asReplica,
  endpointOf,
  exitOf,
  foundAs,
  isAlive,
  movedExit,
  removedExit,
  restartedExit,
  type FoundContainer,
} from './found.ts';
import { isFetch, isOfGateway, ofGateway, readReplica } from './labels.ts';
import { Launcher } from './launcher.ts';
import { logLines, type LogSource } from './log-stream.ts';
import { Observer } from './observer.ts';
import { PlaceFinder } from './place.ts';
import { SavedLogs } from './saved-logs.ts';
import type { Surroundings } from './surroundings.ts';
import { stopContainer } from './stop-container.ts';

/** A container that this driver object launched or adopted and that was not stopped yet. */
interface Held {
  readonly replica: ReplicaRef;
  readonly container: string;
  readonly endpoint: Endpoint;
  /** Where it listens inside its container. */
  readonly port: number;
  /** A later start is another engine, at another port. */
  readonly startedAt: string;
  exited: boolean;
}

function exitOfHeld(facts: ContainerFacts, { replica, startedAt, port, endpoint }: Held): ExitReport | null {
  const over = exitOf(facts, replica);
  if (over !== null) return over;
  if (facts.State.StartedAt !== startedAt) return restartedExit(replica);
  return endpointOf(facts, port).origin === endpoint.origin ? null : movedExit(replica);
}

/** For the end of a log: what has come by then is what there is. */
const TAIL_LIMIT: Milliseconds = 5 * SECOND;

const NO_SETTINGS = 'the Docker driver was made without drivers.docker.';

export class DockerDriver implements Driver {
  readonly kind = 'docker';
  readonly #context: DriverContext;
  readonly #client: DockerClient;
  readonly #place: PlaceFinder;
  readonly #launcher: Launcher;
  readonly #fetcher: Fetcher;
  readonly #observer: Observer;
  readonly #saved: SavedLogs;
  readonly #held = new Map<string, Held>();
  readonly #found = new Map<string, FoundContainer>();
  readonly #launching = new Map<string, Promise<Endpoint>>();
  readonly #stopping = new Map<string, Promise<void>>();
  /** Names or ids of containers that must go, with the key of the replica that they were to be. */
  readonly #unwanted = new Map<string, string | null>();
  readonly #watchers = new Set<(exit: ExitReport) => void>();
  readonly #closed = new AbortController();

  constructor(context: DriverContext) {
    const settings = context.docker;
    if (settings === undefined) throw new Error(NO_SETTINGS);
    this.#context = context;
    this.#client = new DockerClient(context.platform.clock, settings.socket);
    this.#place = new PlaceFinder(this.#client, settings, context);
    const unwanted = (container: string, replica: ReplicaRef | null): void => {
      this.#unwanted.set(container, replica === null ? null : keyOf(replica));
    };
    const parts = { context, settings, client: this.#client, place: this.#place, unwanted };
    this.#launcher = new Launcher(parts);
    this.#fetcher = new Fetcher(parts);
    this.#saved = new SavedLogs(context.platform, context.stateDir);
    this.#observer = new Observer(this.#client, context.platform, ofGateway(context.gatewayId), {
      connected: () => this.#place.forget(),
      changed: (container) => {
        for (const held of this.#held.values()) if (held.container === container) void this.#look(held);
      },
      sync: () => this.#sync(),
    });
  }

  trouble(): string | null {
    return this.#client.trouble ?? this.#place.trouble;
  }

  fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: string | null }> {
    this.#observer.start();
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    return this.#fetcher.fetch(spec, { ...options, signal });
  }

  async pids(replica: ReplicaRef): Promise<readonly number[]> {
    const container = this.#containerOf(replica);
    if (container === undefined) return [];
    try {
      return await this.#client.processIds(container);
    } catch {
      // Over, or its machine has no `ps`: the first process at least stands in its state.
      const facts = await this.#client.inspect(container).catch(() => undefined);
      const pid = facts?.State.Pid ?? 0;
      return pid > 0 ? [pid] : [];
    }
  }

  launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    this.#observer.start();
    const key = keyOf(identity);
    const held = this.#held.get(key);
    if (held) return Promise.resolve(held.endpoint);
    const under = this.#launching.get(key);
    if (under) return under;
    const launching = this.#launch(spec, identity).finally(() => this.#launching.delete(key));
    this.#launching.set(key, launching);
    return launching;
  }

  stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    const key = keyOf(replica);
    const under = this.#stopping.get(key);
    if (under) return under;
    const stopping = this.#stop(replica, options).finally(() => this.#stopping.delete(key));
    this.#stopping.set(key, stopping);
    return stopping;
  }

  async list(): Promise<readonly FoundReplica[]> {
    this.#observer.start();
    const { clock } = this.#context.platform;
    try {
      const alive = await this.#alive();
      const surroundings = alive.length === 0 ? null : await this.#surroundings();
      const replicas: FoundReplica[] = [];
      for (const found of alive) {
        this.#found.set(keyOf(found.labels), found);
        const imageNow = await this.#client.imageId(found.facts.Config.Image);
        replicas.push(foundAs(found, { imageNow, surroundings, now: clock.wall() }));
      }
      return replicas;
    } catch (error) {
      throw new Error(failureOf(error).sentence(), { cause: error });
    }
  }

  async #surroundings(): Promise<Surroundings | null> {
    try {
      return (await this.#place.find()).surroundings;
    } catch {
      // Why is what `trouble` says.
      return null;
    }
  }

  adopt(replica: ReplicaRef): void {
    const key = keyOf(replica);
    if (this.#held.has(key)) return;
    const found = this.#found.get(key);
    if (!found) throw new Error(`replica ${replica.id} was not found by list(), so it cannot be adopted`);
    this.#hold(replica, found.facts, found.labels.port ?? 0);
  }

  watch(report: (exit: ExitReport) => void): Disposable {
    this.#watchers.add(report);
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(report);
      },
    };
  }

  async *logs(replica: ReplicaRef, options: LogOptions): AsyncGenerator<string, void, undefined> {
    const container = this.#containerOf(replica);
    if (container === undefined) {
      yield* this.#saved.of(replica).follow({ ...options, isLive: () => false });
      return;
    }
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    const tail = Math.max(0, Math.min(options.tail, Number.MAX_SAFE_INTEGER));
    try {
      yield* logLines(this.#logSource(replica, container), { ...options, tail, signal }, 'each');
    } catch (error) {
      if (!(error instanceof DockerFailure) || error.status !== 404) throw error;
      yield* this.#saved.of(replica).follow({ ...options, isLive: () => false });
    }
  }

  async tail(replica: ReplicaRef, lines: number): Promise<readonly string[]> {
    if (lines <= 0) return [];
    const container = this.#containerOf(replica);
    if (container === undefined) return this.#saved.of(replica).tail(lines);
    try {
      return await this.#tailOf(replica, container, lines);
    } catch (error) {
      if (error instanceof DockerFailure && error.status === 404) return this.#saved.of(replica).tail(lines);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#observer.close();
    this.#watchers.clear();
  }

  async #launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    await this.#stopping.get(keyOf(identity));
    const facts = await this.#launcher.launch(spec, identity);
    const held = this.#hold(identity, facts, spec.port ?? this.#context.docker?.port ?? 0);
    // It may have ended before anybody watched; whoever launched it is told of the launch first.
    if (!isAlive(facts)) this.#context.platform.clock.after(0, () => void this.#look(held));
    return held.endpoint;
  }

  async #stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    const key = keyOf(replica);
    const { clock } = this.#context.platform;
    const launching = this.#launching.get(key);
    if (launching !== undefined) {
      const limit = clock.sleep(options.timeout).then(() => {
        throw new Error('its launch does not end: Docker does not answer');
      });
      limit.catch(() => undefined);
      await Promise.race([launching.catch(() => undefined), limit]);
    }
    const held = this.#held.get(key);
    // A launch whose answer was lost may have made a container all the same.
    const containers = new Set([...this.#unwanted].filter(([, of]) => of === key).map(([container]) => container));
    const known = this.#containerOf(replica);
    if (known !== undefined) containers.add(known);
    const ended = (facts: ContainerFacts): Promise<void> => this.#ended(replica, facts);
    const isOurs = ({ Config }: ContainerFacts): boolean => isOfGateway(Config.Labels ?? {}, this.#context.gatewayId);
    for (const container of containers) {
      await stopContainer({ client: this.#client, clock, container, isOurs, ended }, options);
      this.#unwanted.delete(container);
    }
    if (held !== undefined) this.#exited(held, removedExit(replica));
    this.#held.delete(key);
    this.#found.delete(key);
  }

  /** The container is over and still there: what is to be known of it is read now. */
  async #ended(replica: ReplicaRef, facts: ContainerFacts): Promise<void> {
    const held = this.#held.get(keyOf(replica));
    const exit = exitOf(facts, replica);
    if (held !== undefined && exit !== null) this.#exited(held, exit);
    const lines = await this.#tailOf(replica, facts.Id, this.#saved.lines).catch((): readonly string[] => []);
    await this.#saved.save(replica, lines);
  }

  #hold(replica: ReplicaRef, facts: ContainerFacts, port: number): Held {
    const ref = { id: replica.id, generation: replica.generation };
    const held: Held = {
      ...{ replica: ref, container: facts.Id, endpoint: endpointOf(facts, port), port },
      ...{ startedAt: facts.State.StartedAt, exited: false },
    };
    this.#held.set(keyOf(ref), held);
    this.#unwanted.delete(facts.Id);
    return held;
  }

  async #look(held: Held): Promise<void> {
    if (held.exited) return;
    let facts: ContainerFacts | undefined;
    try {
      facts = await this.#client.inspect(held.container);
    } catch {
      // Looked at again with everything else, when the daemon answers.
      return;
    }
    const exit = facts === undefined ? removedExit(held.replica) : exitOfHeld(facts, held);
    if (exit !== null) this.#exited(held, exit);
  }

  #exited(held: Held, exit: ExitReport): void {
    if (held.exited) return;
    held.exited = true;
    for (const report of this.#watchers) report(exit);
  }

  /** All that lives of ours, whoever started it. */
  async #alive(): Promise<readonly FoundContainer[]> {
    const alive: FoundContainer[] = [];
    for (const summary of await this.#client.list(ofGateway(this.#context.gatewayId))) {
      const facts = await this.#client.inspect(summary.Id);
      const found = facts === undefined ? undefined : asReplica(facts);
      if (found !== undefined && isAlive(found.facts)) alive.push(found);
    }
    return alive;
  }

  /** Exits that no event told, and remains that nobody holds. */
  async #sync(): Promise<void> {
    await this.#place.find().catch(() => undefined);
    const containers = await this.#client.list(ofGateway(this.#context.gatewayId));
    // Also those that run: one may have been restarted, or moved, while nobody told. At once, as a daemon may hang on one alone.
    await Promise.all([...this.#held.values()].map((held) => this.#look(held)));
    for (const container of containers) {
      const name = (container.Names[0] ?? '').replace(/^\//, '');
      const over = ['created', 'exited', 'dead'].includes(container.State);
      // Asked anew for each: while one was removed, another that was only made may have been launched.
      if (this.#isHeld(container.Id) || this.#isInWork(container.Labels, name)) continue;
      if (!over && !isFetch(container.Labels) && !this.#unwanted.has(container.Id) && !this.#unwanted.has(name))
        continue;
      await this.#client.remove(container.Id);
      this.#unwanted.delete(container.Id);
      this.#unwanted.delete(name);
    }
  }

  #isHeld(container: string): boolean {
    return [...this.#held.values()].some((held) => held.container === container);
  }

  #isInWork(labels: Readonly<Record<string, string>>, name: string): boolean {
    if (isFetch(labels)) return this.#fetcher.owns(name);
    const replica = readReplica(labels);
    if (replica === undefined) return false;
    return this.#launching.has(keyOf(replica)) || this.#stopping.has(keyOf(replica));
  }

  #containerOf(replica: ReplicaRef): string | undefined {
    const key = keyOf(replica);
    return this.#held.get(key)?.container ?? this.#found.get(key)?.container;
  }

  #logSource(replica: ReplicaRef, container: string): LogSource {
    const isLive = (): boolean => !this.#closed.signal.aborted && this.#held.get(keyOf(replica))?.exited === false;
    return { client: this.#client, clock: this.#context.platform.clock, container, isLive };
  }

  async #tailOf(replica: ReplicaRef, container: string, lines: number): Promise<readonly string[]> {
    const kept: string[] = [];
    const late = new AbortController();
    using _limit = this.#context.platform.clock.after(TAIL_LIMIT, () => late.abort());
    const signal = AbortSignal.any([this.#closed.signal, late.signal]);
    const options = { tail: lines, follow: false, signal };
    for await (const line of logLines(this.#logSource(replica, container), options, 'last')) {
      kept.push(line);
      if (kept.length > lines) kept.shift();
    }
    return kept;
  }
}
