import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatewayError } from '../../src/errors.ts';
import { HOUR, SECOND, type Milliseconds } from '../../src/units.ts';
import { RelayBench } from './relay-bench.ts';
import { STORIES, type Story } from './stories.ts';
import { waitPoints, WaitWatch } from './wait-points.ts';

/** Every story is over by then. */
const STORY: Milliseconds = 10 * SECOND;

/** How soon after an abort nothing may be held any more. */
const AT_ONCE: Milliseconds = 100;
const DEADLINES = 'all deadlines pass, because nobody does anything any more';

/** Steps in which the last bytes go out. */
const AFTERWARDS = 8;

/** What ends a request from outside. */
const ABORTS: Readonly<Record<string, (bench: RelayBench) => void>> = {
  'its client resets the connection': ({ clients }) => clients[0]?.far.cut(),
  'its client ends the connection': ({ clients }) => clients[0]?.far.end(),
  [DEADLINES]: (bench) => {
    bench.stopScripts();
    bench.refuseWaiting('queue_timeout');
  },
  'the gateway is told to end, and its patience is over': (bench) => {
    bench.gate.accepting = false;
    bench.proxy.refuseNew();
    bench.refuseWaiting('shutting_down');
    bench.gate.cut(gatewayError('shutting_down', 'told by the test'));
  },
  'the gateway ends at once': (bench) => void bench.proxy.close(),
};

interface Told {
  readonly bench: RelayBench;
  /** Steps of the world until the last request had its end, and a few more. */
  readonly steps: number;
}

/** The story up to so many steps; all of them when it has fewer. */
async function tell(story: Story, limit: number, watch?: WaitWatch): Promise<Told> {
  const bench = new RelayBench(story.options);
  watch?.watch(bench.clock);
  await bench.open();
  story.tell(bench);
  const { time } = bench;
  const end = time.now + STORY;
  let steps = 0;
  let last = 0;
  let ended = 0;
  for (let at = time.nextAt(); at !== undefined && at <= end && steps < limit; at = time.nextAt()) {
    await time.next();
    steps += 1;
    if (bench.telemetry.records.length > ended) last = steps;
    ended = bench.telemetry.records.length;
  }
  return { bench, steps: Math.min(steps, last + AFTERWARDS) };
}

const watch = new WaitWatch();
const lengths = new Map<Story, number>();

beforeAll(async () => {
  for (const story of STORIES) {
    const { bench, steps } = await tell(story, Number.POSITIVE_INFINITY, watch);
    lengths.set(story, steps);
    expect(await bench.held(), story.name).toEqual([]);
  }
  watch[Symbol.dispose]();
});
afterAll(() => watch[Symbol.dispose]());

/** Not where a request waits, and why. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'src/proxy/connection-limit.ts': 'before the first request',
  'src/proxy/external-connection.ts': 'to servers of others undici goes, on real sockets: src/proxy/attempts.test.ts',
  'src/proxy/handed-connections.ts':
    'connections, not requests, of a listener in several processes: test/e2e/workers.test.ts',
  'src/proxy/response-writer-check.ts': 'before the first request',
  'src/proxy/response-writer.ts': 'where Node is not known: src/proxy/relay.test.ts',
  'src/proxy/response-writers.ts': 'before the first request',
  'src/proxy/proxy.ts': 'the beginning and the end of the data plane',
};

/** Of one file that has both: these begin and end a listener. */
const LISTENER = /new Promise|await|server\.(?:once|on)\('error'|\.on\('(?:checkExpectation|connect)'/;

describe('[I-79] a request', () => {
  it('waits nowhere in the code of its path but where a story takes it', () => {
    const points = waitPoints().filter(
      ({ place, text }) =>
        ELSEWHERE[place.split(':')[0] ?? ''] === undefined &&
        !(place.startsWith('src/proxy/listener.ts') && LISTENER.test(text)),
    );
    expect(points.length).toBeGreaterThan(25);
    expect(points.filter(({ place }) => !watch.seen.has(place))).toEqual([]);
  });

  for (const [abort, act] of Object.entries(ABORTS)) {
    it(`holds nothing afterwards at whichever of its steps ${abort}`, async () => {
      const broken: string[] = [];
      let aborted = 0;
      for (const story of STORIES) {
        const length = lengths.get(story) ?? 0;
        for (let step = 0; step <= length; step += 1) {
          const { bench } = await tell(story, step);
          act(bench);
          aborted += 1;
          await bench.advance(AT_ONCE);
          const still = abort === DEADLINES ? [] : bench.heldByRequests();
          if (still.length > 0) broken.push(`${story.name}, step ${step}: still ${still.join(', ')}`);
          await bench.advance(STORY);
          // What the data plane waits for by itself passes too.
          await bench.advance(2 * HOUR);
          const held = await bench.held();
          if (held.length > 0) broken.push(`${story.name}, step ${step}: ${held.join(', ')}`);
        }
      }
      expect(broken).toEqual([]);
      expect(aborted).toBeGreaterThan(15 * STORIES.length);
    }, 120_000);
  }
});
