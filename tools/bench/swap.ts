/** W7: from the request for a model that does not run to its start command, and from the engine that is ready to the answer. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, clients, closing, plainAsk } from './asks.ts';
import { engineCommand, startGateway, type Build } from './gateway-target.ts';
import { median, quantile, type Measured, type Solo } from './measured.ts';

/** Starts in one run. */
const STARTS = 16;
const PROMPT = 400;
const MICRO = 1_000;

interface Start {
  /** Milliseconds. */
  readonly toCommand: number;
  readonly toAnswer: number;
}

const wall = (): number => performance.timeOrigin + performance.now();

/** Two lines: `SECONDS.MICROSECONDS` of the command, microseconds of the engine that listens. */
function told(file: string): { command: number; listening: number } {
  const [command = '', listening = ''] = readFileSync(file, 'latin1').trim().split('\n').slice(-2);
  return { command: Number(command.replace(',', '.')) * MICRO, listening: Number(listening) / MICRO };
}

async function starts(
  build: Build,
  names: readonly string[],
  gib: number,
  order: readonly string[],
): Promise<readonly Start[]> {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-bench-'));
  const files = new Map(names.map((name) => [name, join(folder, name)]));
  const model = (file: string): object => ({
    ...{ command: engineCommand(file), health_path: '/health', memory: `${gib}GiB`, stop_timeout: '5s' },
  });
  const gateway = await startGateway(build, {
    models: Object.fromEntries([...files].map(([name, file]) => [name, model(file)])),
    devices: { probe: 'simulated', list: [{ id: 'gpu-0', memory: '64GiB' }] },
    maxConcurrent: 16,
    modelsConcurrent: names.length,
  });
  const [client] = clients(gateway, 1);
  if (client === undefined) throw new Error('no client');
  try {
    return await closing([client], async () => {
      const all: Start[] = [];
      for (const name of order) {
        const asked = wall();
        const { status } = check(await client.ask(plainAsk(PROMPT, 0, name)));
        const answered = wall();
        if (status !== 200) throw new Error(`${name} answered ${status}`);
        const { command, listening } = told(files.get(name) ?? '');
        all.push({ toCommand: command - asked, toAnswer: answered - listening });
      }
      return all;
    });
  } finally {
    await gateway.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function told99(values: readonly number[]): Measured {
  const [p50, p99] = [quantile(values, 0.5), quantile(values, 0.99)];
  return { cost: median(values), units: values.length, carried: 1, p50, p99, loop: null, foreign: 0, stolen: 0 };
}

const COLD = Array.from({ length: STARTS }, (_, index) => `cold-${index}`);
const TURNS = ['one', 'other'];

const cold = (build: Build): Promise<readonly Start[]> => starts(build, COLD, 1, COLD);
/** Only one has room: each start waits for the other's end. */
const swapped = async (build: Build): Promise<readonly Start[]> => {
  const order = Array.from({ length: STARTS + 1 }, (_, index) => TURNS[index % 2] ?? '');
  return (await starts(build, TURNS, 40, order)).slice(1);
};

export const coldStarts: Solo = {
  tells: [
    { id: 'W7-start', title: 'from a request for a cold model to its start command', unit: 'ms' },
    { id: 'W7-answer', title: 'from an engine that listens to the first byte of the answer', unit: 'ms' },
  ],
  async run(build) {
    const all = await cold(build);
    return [told99(all.map(({ toCommand }) => toCommand)), told99(all.map(({ toAnswer }) => toAnswer))];
  },
};

export const swaps: Solo = {
  tells: [{ id: 'W7-swap', title: 'to the start command when another engine has to end first', unit: 'ms' }],
  async run(build) {
    return [told99((await swapped(build)).map(({ toCommand }) => toCommand))];
  },
};
