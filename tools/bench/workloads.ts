/** What everything is measured with that stands between client and engine: W1 to W5. */
import { setTimeout } from 'node:timers/promises';
import { check, clients, closedLoop, closing, openLoop, plainAsk, streamAsk } from './asks.ts';
import type { Asked, LoadClient } from './client.ts';
import { pss } from './machine.ts';
import { measured, type Workload } from './measured.ts';
import type { Running } from './targets.ts';

const KIB = 1024;
const MIB = KIB * KIB;
/** Requests and streams before any measurement, so that everything is compiled; what takes longer than the limit has to do with less. */
const WARM_REQUESTS = 6_000;
const WARM_STREAMS = 300;
const WARM_SECONDS = 20;
const FAST_STREAMS = 16;
const FAST_EVENTS = 200;
/** Milliseconds between two events of a paced stream. */
const PACE = 20;

const after = (seconds: number): (() => boolean) => {
  const end = performance.now() + seconds * 1_000;
  return () => performance.now() >= end;
};

export async function warmUp(target: Running): Promise<void> {
  const all = clients(target, 32);
  await closing(all, async () => {
    const late = after(WARM_SECONDS);
    await closedLoop(
      all,
      () => plainAsk(400),
      (asked) => asked >= WARM_REQUESTS || late(),
    );
    await closedLoop(
      all,
      () => streamAsk(FAST_EVENTS, 0),
      (asked) => asked >= WARM_STREAMS || late(),
    );
  });
}

/** Every connection once, so that none is opened while it is measured. */
const open = (all: readonly LoadClient[], make: () => Asked): Promise<unknown> =>
  closedLoop(all, make, (asked) => asked >= 2 * all.length);

const requests = (id: string, title: string, concurrency: number, promptBytes: number): Workload => ({
  id,
  title,
  unit: 'µs per request',
  run: (target, seconds) => {
    const all = clients(target, concurrency);
    return closing(all, async () => {
      const make = (): Asked => plainAsk(promptBytes);
      await open(all, make);
      return measured(target, async () => {
        const { done, delays } = await closedLoop(all, make, after(seconds));
        return { units: done, carried: 1, delays };
      });
    });
  },
});

/** Delays count from the moment that was intended, on a machine that has room. */
const unhurried: Workload = {
  id: 'W1-open',
  title: 'small JSON, 500 in a second at intended moments',
  unit: 'µs per request',
  run: (target, seconds) => {
    const all = clients(target, 64);
    return closing(all, async () => {
      const make = (): Asked => plainAsk(400);
      await open(all, make);
      return measured(target, async () => {
        const { done, delays } = await openLoop(all, make, 500, seconds);
        return { units: done, carried: 1, delays };
      });
    });
  },
};

const fastStreams: Workload = {
  id: 'W2',
  title: `streams as fast as they come, ${FAST_STREAMS} at once`,
  unit: 'µs per event',
  run: (target, seconds) => {
    const all = clients(target, FAST_STREAMS);
    return closing(all, async () => {
      await open(all, () => streamAsk(10, 0));
      return measured(target, async () => {
        const { done } = await closedLoop(all, () => streamAsk(FAST_EVENTS, 0), after(seconds));
        return { units: done * FAST_EVENTS, carried: 1, delays: [] };
      });
    });
  },
};

const paced = (id: string, streams: number): Workload => ({
  id,
  title: `streams of one event each ${PACE} ms, ${streams} at once`,
  unit: 'µs per event',
  run: (target, seconds) => {
    const all = clients(target, streams);
    return closing(all, async () => {
      await open(all, () => streamAsk(10, 0));
      const events = Math.round((seconds * 1_000) / PACE);
      const delays: number[] = [];
      const event = (delay: number): void => void delays.push(delay);
      return measured(target, async () => {
        const started = performance.now();
        const answers = await Promise.all(all.map((client) => client.ask(streamAsk(events, PACE), { event })));
        const took = (performance.now() - started) / 1_000;
        for (const answer of answers) check(answer);
        return { units: streams * events, carried: Math.min(1, (seconds + 0.1) / took), delays };
      });
    });
  },
});

const NO_DELAYS = { p50: null, p99: null, loop: null, foreign: 0, stolen: 0 };

const quietStreams = (id: string, streams: number): Workload => ({
  id,
  title: `${streams} streams that say nothing`,
  unit: 'KiB per stream',
  grows: true,
  run: async (target) => {
    const before = pss(target.pids());
    const all = clients(target, streams);
    return closing(all, async () => {
      await target.loop();
      // One event at once, the next after the measurement is over.
      await Promise.all(
        all.map(
          (client) =>
            new Promise<void>((resolve, reject) => {
              const ask = streamAsk(2, 3_000);
              client
                .ask(ask, { event: () => resolve() })
                .then(check)
                .catch(reject);
            }),
        ),
      );
      const each = (pss(target.pids()) - before) / streams / KIB;
      return { ...NO_DELAYS, cost: each, units: streams, carried: 1, loop: await target.loop() };
    });
  },
});

/** Looks at memory at rest, and the milliseconds between two of them. */
const LOOKS = 6;
const PAUSE = 250;

/** A start leaves garbage that is gone a second later: one look alone may meet it, the least of several does not. */
export async function leastOf(looks: number, look: () => number, pause: () => Promise<unknown>): Promise<number> {
  let least = look();
  for (let more = 1; more < looks; more++) {
    await pause();
    least = Math.min(least, look());
  }
  return least;
}

/** Before anything was asked of it. */
const atRest: Workload = {
  id: 'idle',
  title: 'memory before the first request',
  unit: 'MiB',
  before: true,
  run: async (target: Running) => {
    const least = await leastOf(
      LOOKS,
      () => pss(target.pids()),
      () => setTimeout(PAUSE),
    );
    return { ...NO_DELAYS, cost: least / MIB, units: 1, carried: 1 };
  },
};

export const WORKLOADS: readonly Workload[] = [
  atRest,
  requests('W1', 'small JSON, 32 at once', 32, 400),
  requests('W1-1', 'small JSON, one at a time', 1, 400),
  unhurried,
  fastStreams,
  paced('W3', 200),
  paced('W3-600', 600),
  requests('W4', 'prompts of 256 KB, 8 at once', 8, 262_144),
  requests('W4-4M', 'prompts of 4 MB, 4 at once', 4, 4_194_304),
  quietStreams('W5', 1_000),
  quietStreams('W5-5000', 5_000),
];
