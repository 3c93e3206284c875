/**
 * Ends an engine and everything that came of it. A vLLM server that was told to end may wait for ever for clients whose
 * answers will never come, may lose the signal while it starts, and may leave an engine core behind that holds the GPU:
 * so connections are cut, the group is killed, and "gone" is proven by looking.
 */
import type { StopOptions } from '../driver.ts';
import type { Platform, ProcessFacts } from '../../platform/platform.ts';
import { isLive } from '../../platform/processes.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { MARKS } from './environment.ts';

const CUT_AFTER: Milliseconds = 2 * SECOND;
const KILL_AFTER: Milliseconds = 10 * SECOND;
/** The kill must leave time to prove its effect. */
const KILL_SHARE = 3;
/** While it starts it may never hear the signal; and without its leader the rest has no reason to stay. */
const KILL_AFTER_SHORT: Milliseconds = 2 * SECOND;
/** A process that was just being forked may have escaped the kill before. */
const KILL_EVERY: Milliseconds = SECOND / 2;
const LOOK_EVERY: Milliseconds = 25;
const SCAN_EVERY: Milliseconds = 100;

export interface ProcessTree {
  /** The leader of the group, as recorded; null when no pid was ever known. */
  readonly leader: { readonly pid: number; readonly startTime: number } | null;
  /** Value of the mark that all of it carries in its environment. */
  readonly mark: string;
}

type Processes = Pick<Platform, 'clock' | 'subprocess'>;

export async function leaderIsLive({ subprocess }: Processes, tree: ProcessTree): Promise<boolean> {
  if (tree.leader === null) return false;
  const facts = await subprocess.inspect(tree.leader.pid);
  return facts !== undefined && facts.startTime === tree.leader.startTime && isLive(facts);
}

/** Everything that lives of it: its process group, and whoever left the group but carries its mark. */
export async function membersOf({ subprocess }: Processes, tree: ProcessTree): Promise<readonly ProcessFacts[]> {
  const members = new Map<number, ProcessFacts>();
  if (tree.leader !== null) {
    const { pid, startTime } = tree.leader;
    const named = await subprocess.inspect(pid);
    // A pid is not given out again while a group of that number lives; so another process of this pid means that
    // nothing is left of our group, and what bears its number is a stranger's.
    if (named === undefined || named.startTime === startTime) {
      for (const facts of await subprocess.group(pid)) members.set(facts.pid, facts);
    }
  }
  for (const facts of await subprocess.findByEnvironment(MARKS.process, tree.mark)) members.set(facts.pid, facts);
  return [...members.values()];
}

export async function stopTree(platform: Processes, tree: ProcessTree, options: StopOptions): Promise<void> {
  const stopping = new Stopping(platform, tree, options);
  await stopping.run();
}

class Stopping {
  readonly #platform: Processes;
  readonly #tree: ProcessTree;
  readonly #options: StopOptions;
  readonly #began: Milliseconds;
  #killAt: Milliseconds;
  #killedAt: Milliseconds = Number.NEGATIVE_INFINITY;
  #asked = false;
  #leaderGone = false;
  #cut = false;
  #refused: string | null = null;

  constructor(platform: Processes, tree: ProcessTree, options: StopOptions) {
    this.#platform = platform;
    this.#tree = tree;
    this.#options = options;
    this.#began = platform.clock.monotonic();
    const patience = Math.min(options.starting ? KILL_AFTER_SHORT : KILL_AFTER, options.timeout / KILL_SHARE);
    this.#killAt = this.#began + patience;
  }

  async run(): Promise<void> {
    const { clock } = this.#platform;
    const deadline = this.#began + this.#options.timeout;
    for (;;) {
      try {
        if (await (this.#asked ? this.#watch() : this.#ask())) return;
      } catch (error) {
        // No descriptor to look through, for the moment: nobody is taken for gone who was not seen to be.
        if (clock.monotonic() >= deadline) throw error;
      }
      if (clock.monotonic() >= deadline) break;
      await clock.sleep(this.#leaderGone ? SCAN_EVERY : LOOK_EVERY);
    }
    const left = await membersOf(this.#platform, this.#tree);
    if (left.length > 0) throw new Error(this.#complaint(left));
  }

  /** True when there is nobody. */
  async #ask(): Promise<boolean> {
    const left = await membersOf(this.#platform, this.#tree);
    if (left.length === 0 && (await this.#provenGone())) return true;
    this.#send('SIGTERM', left);
    this.#asked = true;
    return this.#watch();
  }

  /** True when nothing is left. */
  async #watch(): Promise<boolean> {
    this.#cutWhenDue();
    if (await leaderIsLive(this.#platform, this.#tree)) {
      await this.#killWhenDue(null);
      return false;
    }
    this.#noteLeaderGone();
    const left = await membersOf(this.#platform, this.#tree);
    if (left.length === 0 && (await this.#provenGone())) return true;
    await this.#killWhenDue(left);
    return false;
  }

  /** One look may miss a process that is being forked while it looks. */
  async #provenGone(): Promise<boolean> {
    return (await membersOf(this.#platform, this.#tree)).length === 0;
  }

  #cutWhenDue(): void {
    const now = this.#platform.clock.monotonic();
    if (this.#cut || now < Math.min(this.#began + CUT_AFTER, this.#killAt)) return;
    this.#cut = true;
    this.#options.cutConnections();
  }

  #noteLeaderGone(): void {
    if (this.#leaderGone) return;
    this.#leaderGone = true;
    this.#killAt = Math.min(this.#killAt, this.#platform.clock.monotonic() + KILL_AFTER_SHORT);
  }

  async #killWhenDue(known: readonly ProcessFacts[] | null): Promise<void> {
    const now = this.#platform.clock.monotonic();
    if (now < this.#killAt || now < this.#killedAt + KILL_EVERY) return;
    this.#killedAt = now;
    this.#send('SIGKILL', known ?? (await membersOf(this.#platform, this.#tree)));
  }

  #send(name: 'SIGTERM' | 'SIGKILL', members: readonly ProcessFacts[]): void {
    const group = this.#tree.leader?.pid;
    const outside = members.filter((facts) => facts.group !== group);
    if (group !== undefined && outside.length < members.length) this.#signal(-group, name);
    for (const facts of outside) this.#signal(facts.pid, name);
  }

  #signal(pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
    try {
      this.#platform.subprocess.signal(pid, name);
    } catch (error) {
      // It took another user's identity; whether it goes all the same is seen below.
      this.#refused = error instanceof Error ? error.message : String(error);
    }
  }

  #complaint(left: readonly ProcessFacts[]): string {
    const named = left.slice(0, 5).map((facts) => `${facts.command} (pid ${facts.pid}, state ${facts.state})`);
    const more = left.length > named.length ? ` and ${left.length - named.length} more` : '';
    const refused = this.#refused === null ? '' : `; ${this.#refused}`;
    return `still running after SIGKILL: ${named.join(', ')}${more}${refused}`;
  }
}
