/** Two models that want one device for a whole minute: each gets its turns, nobody fails, and the device is not worn out by swaps. */
import { afterAll, expect, it } from 'vitest';
import { Clients } from '../support/clients.ts';
import { decisionsOf } from '../support/decisions.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { pretendedGpus } from '../support/pretended-gpus.ts';
import { startFleet, statusOf, untilAtRest } from '../support/simulated-fleet.ts';

const MODELS = ['left', 'right'] as const;
const CLIENTS_EACH = 20;
const RUN_MS = 60_000;
const TURN_MS = 8_000;
/** The longest lease, the stop and the load of one swap, on a machine with other things to do. */
const SWAP_MS = 3_000;
/** Whoever comes when its model has just been fenced waits for that swap, the other's turn, and the swap back. */
const LONGEST_WAIT_MS = TURN_MS + 2 * SWAP_MS;

interface Served {
  readonly model: string;
  readonly status: number;
  /** Milliseconds since the run began. */
  readonly askedAt: number;
  readonly answeredAt: number;
}

let gatewayId = '';

afterAll(async () => {
  await noEngineLeft(gatewayId);
});

it(
  'twenty clients on each of two models that share a device are all served within the bound, one swap per turn',
  async () => {
    using gpus = pretendedGpus('turns', 1, 10);
    const models = MODELS.map((name) => ({
      name,
      knobs: { ...gpus.knobs, START_MS: 300, TOKENS: 10, TOKEN_MS: 20 },
      keys: ['memory: 9GiB'],
    }));
    const limits = `limits: { max_turn: ${TURN_MS / 1_000}s, min_residency: ${TURN_MS / 1_000}s }`;
    await using gateway = await startFleet(models, `${gpus.yaml}\n${limits}`);
    gatewayId = gateway.gateway.id;
    await using clients = new Clients(gateway.url);
    const beganAt = performance.now();
    const now = (): number => performance.now() - beganAt;
    const served: Served[] = [];
    const askUntilTheEnd = async (model: string): Promise<void> => {
      while (now() < RUN_MS) {
        const askedAt = now();
        const { status } = await clients.chat(model);
        served.push({ model, status, askedAt, answeredAt: now() });
      }
    };
    await Promise.all(MODELS.flatMap((model) => Array.from({ length: CLIENTS_EACH }, () => askUntilTheEnd(model))));

    expect(served.filter(({ status }) => status !== 200)).toEqual([]);
    expect(Math.max(...served.map(({ askedAt, answeredAt }) => answeredAt - askedAt))).toBeLessThan(LONGEST_WAIT_MS);
    for (const model of MODELS) {
      const times = served.filter((one) => one.model === model).map((one) => one.answeredAt);
      const gaps = times.map((at, index) => at - (times[index - 1] ?? 0));
      expect([model, Math.max(...gaps) < LONGEST_WAIT_MS]).toEqual([model, true]);
    }
    const decisions = decisionsOf(gateway);
    const swaps = decisions.filter(({ event }) => event === 'replica.fenced' || event === 'replica.evicted');
    expect(swaps.length).toBeGreaterThan(2);
    expect(swaps.length).toBeLessThanOrEqual(Math.ceil(now() / TURN_MS));
    // No turn is cut short: from ready to fenced it lasts at least one.
    for (const swap of swaps.filter(({ event }) => event === 'replica.fenced')) {
      const ready = decisions.find(({ event, replica }) => event === 'replica.ready' && replica === swap.replica);
      expect(swap.at - (ready?.at ?? swap.at)).toBeGreaterThanOrEqual(TURN_MS - 50);
    }
    expect((await statusOf(gateway)).models['left']?.last_failure).toBeNull();
    await untilAtRest(gateway);
  },
  RUN_MS + 60_000,
);
