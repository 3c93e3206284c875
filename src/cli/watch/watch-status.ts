/** `status --watch`: a picture that follows the gateway, also over its restarts; without a terminal, what changed. */
import { decisionEvent, statusAnswer } from '../../admin/contract.ts';
import type { DecisionEvent, StatusAnswer } from '../../admin/contract.ts';
import { SECOND } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';
import { textOf } from '../client.ts';
import type { GatewayClient } from '../client.ts';
import { renderStatus } from '../render-status.ts';
import { readEvents } from '../sse.ts';
import { CliError, EXIT } from '../world.ts';
import type { SignalName, World } from '../world.ts';
import { frame } from './frame.ts';
import { TerminalScreen } from './terminal.ts';

const EVERY: Milliseconds = SECOND;
/** A gateway that hangs is told as one that does not answer. */
const ANSWER_LIMIT: Milliseconds = 5 * SECOND;
/** More than any screen shows. */
const MOST_EVENTS = 200;
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

const SIGNAL_EXITS: Readonly<Record<SignalName, number>> = {
  // Ctrl+C is how one leaves.
  SIGINT: EXIT.done,
  SIGTERM: EXIT.terminated,
  SIGHUP: EXIT.hangup,
};

interface Picture {
  readonly status: StatusAnswer;
  readonly text: string;
}

export async function watchStatus(world: World, client: GatewayClient, json: boolean): Promise<number> {
  if (json || !world.out.isTerminal) return followChanges(world, client, json);
  // The first answer comes before the screen is taken: an address that is wrong is told where people see it.
  let first: Picture;
  try {
    first = await ask(world, client);
  } catch (error) {
    if (world.outputGone.aborted) return EXIT.done;
    throw error;
  }
  return new LiveView(world, client, first).run();
}

async function ask(world: World, client: GatewayClient, signal?: AbortSignal): Promise<Picture> {
  const limit = new AbortController();
  using _limit = world.platform.clock.after(ANSWER_LIMIT, () => limit.abort());
  const signals = [limit.signal, world.outputGone, ...(signal ? [signal] : [])];
  try {
    const { value, text } = await client.json('/gateway/status', statusAnswer, { signal: AbortSignal.any(signals) });
    return { status: value, text: text.trimEnd() };
  } catch (error) {
    if (!limit.signal.aborted) throw error;
    throw new CliError(`${client.url} does not answer within ${ANSWER_LIMIT / SECOND} s.`);
  }
}

/** Without a terminal: one document, or one table, for each change. */
async function followChanges(world: World, client: GatewayClient, json: boolean): Promise<number> {
  const { out, platform, outputGone } = world;
  let last = '';
  while (!outputGone.aborted) {
    let picture: Picture;
    try {
      picture = await ask(world, client);
    } catch (error) {
      if (outputGone.aborted) break;
      throw error;
    }
    const essence = essenceOf(picture.status);
    if (essence !== last) {
      const table = renderStatus(picture.status, client.url, platform.clock.wall(), out);
      out.write(json ? `${picture.text}\n` : `${last === '' ? '' : '\n'}${table}`);
    }
    last = essence;
    await platform.clock.sleep(EVERY, outputGone).catch(() => undefined);
  }
  return EXIT.done;
}

/** Fields that change by themselves as time goes by. */
const PASSING: ReadonlySet<string> = new Set(['uptime_s', 'observed_at', 'for_s', 'eta_s', 'last_request_time']);

function essenceOf(status: StatusAnswer): string {
  return JSON.stringify(status, (key, value: unknown) => (PASSING.has(key) ? undefined : value));
}

/** On a terminal. */
class LiveView {
  readonly #world: World;
  readonly #client: GatewayClient;
  readonly #ended = new AbortController();
  readonly #unicode: boolean;
  #exit: number = EXIT.done;
  #picture: Picture;
  #events: DecisionEvent[] = [];
  #trouble: string | null = null;
  #drawing = false;

  constructor(world: World, client: GatewayClient, first: Picture) {
    const { env } = world.platform;
    this.#world = world;
    this.#client = client;
    this.#picture = first;
    this.#unicode = /utf-?8/i.test(env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '');
  }

  async run(): Promise<number> {
    const { out, outputGone, onEnd, onKey, onSignal } = this.#world;
    using screen = new TerminalScreen(out, onEnd);
    const signals = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((name) =>
      onSignal(name, () => this.#end(SIGNAL_EXITS[name])),
    );
    using _keys = onKey?.((key) => {
      if (key === 'q' || key === CTRL_C || key === CTRL_D) this.#end(EXIT.done);
    });
    using _resized = out.onResize(() => {
      screen.forget();
      this.#draw(screen);
    });
    const gone = (): void => this.#end(EXIT.done);
    outputGone.addEventListener('abort', gone, { once: true });
    try {
      await this.#follow(screen);
      return this.#exit;
    } finally {
      outputGone.removeEventListener('abort', gone);
      for (const listening of signals) listening[Symbol.dispose]();
    }
  }

  async #follow(screen: TerminalScreen): Promise<void> {
    const { clock } = this.#world.platform;
    const following = this.#followEvents(screen);
    while (!this.#ended.signal.aborted) {
      this.#draw(screen);
      await clock.sleep(EVERY, this.#ended.signal).catch(() => undefined);
      if (!this.#ended.signal.aborted) await this.#look();
    }
    await following;
  }

  #end(code: number): void {
    if (this.#ended.signal.aborted) return;
    this.#exit = code;
    this.#ended.abort();
  }

  #draw(screen: TerminalScreen): void {
    const { out, platform } = this.#world;
    const view = {
      status: this.#picture.status,
      events: this.#events,
      url: this.#client.url,
      now: platform.clock.wall(),
      trouble: this.#trouble,
    };
    screen.draw(frame(view, { columns: out.columns, rows: out.rows, unicode: this.#unicode }));
  }

  /** Events come in bursts: one picture for all that can be read now. */
  #drawSoon(screen: TerminalScreen): void {
    if (this.#drawing) return;
    this.#drawing = true;
    this.#world.platform.clock.afterReads(() => {
      this.#drawing = false;
      this.#draw(screen);
    });
  }

  async #look(): Promise<void> {
    try {
      this.#picture = await ask(this.#world, this.#client, this.#ended.signal);
      this.#trouble = null;
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      if (!(error instanceof CliError)) throw error;
      // It may be restarting: the last picture stays, and says that it is the last.
      this.#trouble = `Still asking. ${error.message}`;
    }
  }

  /** Until the end; after each break anew, from what is known. */
  async #followEvents(screen: TerminalScreen): Promise<void> {
    const { signal } = this.#ended;
    const { clock } = this.#world.platform;
    while (!signal.aborted) {
      await this.#readEvents(screen).catch((error: unknown) => {
        // The status says what is wrong with the gateway.
        if (!(error instanceof Error)) throw error;
      });
      await clock.sleep(EVERY, signal).catch(() => undefined);
    }
  }

  async #readEvents(screen: TerminalScreen): Promise<void> {
    const { signal } = this.#ended;
    const headers = { 'last-event-id': '0' };
    const response = await this.#client.open('/gateway/events', { headers, signal });
    // A gateway that was started anew counts anew; it sends all that it knows.
    this.#events = [];
    for await (const { event, data } of readEvents(textOf(response))) {
      if (event !== 'decision') continue;
      const decision = decisionEvent.safeParse(JSON.parse(data));
      if (!decision.success) continue;
      this.#events = [...this.#events, decision.data].slice(-MOST_EVENTS);
      this.#drawSoon(screen);
    }
  }
}
