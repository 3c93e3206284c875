/** W6: a gateway at its limits. All slots are taken, the queue is full, and what is too much is told so. */
import { clients, closedLoop, closing, openLoop, plainAsk } from './asks.ts';
import { startGateway } from './gateway-target.ts';
import { measured, type Solo } from './measured.ts';

const SLOTS = 16;
const QUEUE = 16;
/** Milliseconds that the engine takes: some 780 answers in a second from 16 slots, of 1 000 asked for. */
const HOLD = 20;
const RATE = 1_000;
const REFUSED = 429;
const PROMPT = 400;
/** Longer than any measurement. */
const FOREVER = 600_000;

const always = { devices: { probe: 'none' }, maxConcurrent: SLOTS, maxQueue: QUEUE, watched: true };

export const mixed: Solo = {
  tells: [
    {
      id: 'W6',
      title: `1 000 requests a second before ${SLOTS} slots and a queue of ${QUEUE}, which carry fewer; the rest is answered 429`,
      unit: 'µs per answer',
    },
  ],
  async run(build, seconds) {
    const gateway = await startGateway(build, always);
    const all = clients(gateway, 256);
    try {
      return await closing(all, async () => {
        await openLoop(all, () => plainAsk(PROMPT, HOLD), RATE, 1);
        const one = await measured(gateway, async () => {
          const { done, delays, statuses } = await openLoop(all, () => plainAsk(PROMPT, HOLD), RATE, seconds);
          const refused = statuses.get(REFUSED) ?? 0;
          if (refused === 0 || refused === done) throw new Error(`${refused} of ${done} were refused, not some`);
          return { units: done, carried: 1 - refused / done, delays };
        });
        return [one];
      });
    } finally {
      await gateway.stop();
    }
  },
};

export const refusals: Solo = {
  tells: [
    { id: 'W6-429', title: 'small JSON, 32 at once, each refused because the queue is full', unit: 'µs per 429' },
  ],
  async run(build, seconds) {
    const gateway = await startGateway(build, always);
    const held = clients(gateway, SLOTS + QUEUE + 1);
    const all = clients(gateway, 32);
    try {
      return await closing([...held, ...all], async () => {
        // One more than there is room for: once somebody is refused, everything is full, and stays so.
        const { status } = await Promise.race(held.map((client) => client.ask(plainAsk(PROMPT, FOREVER))));
        if (status !== REFUSED) throw new Error(`the queue is not full: ${status}`);
        await closedLoop(
          all,
          () => plainAsk(PROMPT),
          (asked) => asked >= 2_000,
        );
        const one = await measured(gateway, async () => {
          const end = performance.now() + seconds * 1_000;
          const { done, delays, statuses } = await closedLoop(
            all,
            () => plainAsk(PROMPT),
            () => performance.now() >= end,
          );
          if (statuses.get(REFUSED) !== done) throw new Error(`not all were refused: ${[...statuses].join(' ')}`);
          return { units: done, carried: 1, delays };
        });
        return [one];
      });
    } finally {
      await gateway.stop();
    }
  },
};
