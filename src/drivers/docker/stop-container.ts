/**
 * Ends a container and proves that it is gone: SIGTERM, open connections cut after 2 s, SIGKILL, removed, not found any
 * more. Goes on while the daemon is away, as long as there is time.
 */
import type { Clock } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import type { StopOptions } from '../driver.ts';
import type { ContainerFacts, DockerClient } from './client.ts';
import { failureOf } from './failures.ts';
import { isAlive } from './found.ts';

const CUT_AFTER: Milliseconds = 2 * SECOND;
const KILL_AFTER: Milliseconds = 10 * SECOND;
/** The kill must leave time to prove its effect. */
const KILL_SHARE = 3;
/** While it starts it may never hear the signal. */
const KILL_AFTER_STARTING: Milliseconds = 2 * SECOND;
const LOOK_EVERY: Milliseconds = 100;
const AGAIN_AFTER: Milliseconds = SECOND / 2;
/** For the last look, when everything goes as it should. */
const LATE: Milliseconds = SECOND / 2;

export interface Stopping {
  readonly client: DockerClient;
  readonly clock: Clock;
  /** Id, or a name. */
  readonly container: string;
  /** Whatever else has that name is not there, as far as we are concerned. */
  readonly isOurs: (facts: ContainerFacts) => boolean;
  /** What is still to be known of it, before it is removed. Must not reject. */
  readonly ended: (facts: ContainerFacts) => Promise<void>;
}

/** Rejects when it cannot be proven gone in time. */
export async function stopContainer(stopping: Stopping, options: StopOptions): Promise<void> {
  const { clock } = stopping;
  const patience = Math.min(options.starting ? KILL_AFTER_STARTING : KILL_AFTER, options.timeout / KILL_SHARE);
  let cut = false;
  const cutOnce = (): void => {
    if (cut) return;
    cut = true;
    options.cutConnections();
  };
  const run = new Run(stopping, clock.monotonic() + patience, options.timeout);
  using _cut = clock.after(Math.min(CUT_AFTER, patience), () => {
    if (!run.over) cutOnce();
  });
  const late = new AbortController();
  try {
    // A daemon that hangs answers no call in time, and the one under way must not keep us.
    const limit = clock.sleep(options.timeout + LATE, late.signal).then(() => run.giveUp());
    limit.catch(() => undefined);
    await Promise.race([run.untilGone(), limit]);
  } finally {
    late.abort();
  }
}

class Run {
  readonly #stopping: Stopping;
  readonly #killAt: Milliseconds;
  readonly #deadline: Milliseconds;
  over = false;
  #asked = false;
  #killed = false;
  #told = false;
  #trouble: string | null = null;

  constructor(stopping: Stopping, killAt: Milliseconds, timeout: Milliseconds) {
    this.#stopping = stopping;
    this.#killAt = killAt;
    this.#deadline = stopping.clock.monotonic() + timeout;
  }

  async untilGone(): Promise<void> {
    const { clock } = this.#stopping;
    for (;;) {
      let wait = LOOK_EVERY;
      try {
        if (await this.#step()) {
          this.over = true;
          return;
        }
        this.#trouble = null;
      } catch (error) {
        this.#trouble = failureOf(error).sentence();
        wait = AGAIN_AFTER;
      }
      if (clock.monotonic() >= this.#deadline) break;
      await clock.sleep(Math.min(wait, Math.max(1, this.#deadline - clock.monotonic())));
    }
    this.giveUp();
  }

  /** What is over holds nothing any more: that its remains cannot be removed now is no reason to hold its memory. */
  giveUp(): void {
    this.over = true;
    if (this.#told) return;
    throw new Error(
      this.#trouble ?? (this.#killed ? 'its container still runs, although it was killed' : 'Docker does not answer'),
    );
  }

  /** True when there is no such container any more. */
  async #step(): Promise<boolean> {
    const { client, clock, container, isOurs, ended } = this.#stopping;
    const facts = await client.inspect(container);
    if (facts === undefined || !isOurs(facts)) return true;
    if (!isAlive(facts)) {
      this.over = true;
      if (!this.#told) await ended(facts);
      this.#told = true;
      await client.remove(facts.Id);
      return (await client.inspect(container)) === undefined;
    }
    if (!this.#asked) {
      // A signal waits until a paused container runs on.
      if (facts.State.Paused) await client.unpause(facts.Id);
      await client.kill(facts.Id, 'SIGTERM');
      this.#asked = true;
    }
    if (!this.#killed && clock.monotonic() >= this.#killAt) {
      await client.kill(facts.Id, 'SIGKILL');
      this.#killed = true;
    }
    return false;
  }
}
