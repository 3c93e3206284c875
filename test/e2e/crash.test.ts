/** The gateway dies under load: its engines go on, and the next gateway has them again. */
import { afterAll, expect, it } from 'vitest';
import { Clients } from '../support/clients.ts';
import { enginesOf, noEngineLeft, variableOf, type EngineProcess } from '../support/engine-processes.ts';
import { engineLog, numberedLines, recordOf, recordsIn, type StoredRecord } from '../support/engine-records.ts';
import { eventually } from '../support/eventually.ts';
import { startGateway, type GatewayProcess } from '../support/gateway-process.ts';
import { openStream } from '../support/open-stream.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

const MODELS = ['chatty', 'twofold'] as const;
const YAML = simulatedYaml([
  { name: 'chatty', knobs: { LOG_EVERY_MS: 10 } },
  { name: 'twofold', knobs: { LOG_EVERY_MS: 10, PROCESSES: 2 } },
]);
/** How long the engines are watched without a gateway; longer by hand. */
const ALONE_MS = Number(process.env['CRASH_ALONE_MS'] ?? 10_000);
/** From the start of the next gateway to its word on every engine. */
const ADOPTED_WITHIN_MS = 3_000;

let gatewayId = '';

afterAll(async () => {
  await noEngineLeft(gatewayId);
});

function leadersOf(processes: readonly EngineProcess[]): readonly string[] {
  return processes.filter((one) => one.leads).map((one) => one.replica);
}

/** Asks an engine as the gateway did, with the key from its own environment. */
async function askDirectly({ port, pid, model }: StoredRecord): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${variableOf(pid ?? 0, 'VLLM_API_KEY') ?? ''}`,
    },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Still there?' }] }),
  });
  await answer.text();
  return answer.status;
}

async function serveAlone(records: readonly StoredRecord[]): Promise<void> {
  const deadline = performance.now() + ALONE_MS;
  let asked = 0;
  while (performance.now() < deadline) {
    for (const record of records) expect([record.model, await askDirectly(record)]).toEqual([record.model, 200]);
    asked += 1;
  }
  expect(asked).toBeGreaterThan(1);
}

async function adopted(gateway: GatewayProcess, replicas: readonly string[]): Promise<void> {
  await eventually('every engine is adopted', () => {
    const ready = gateway.decisions('replica.ready').map((entry) => entry.replica);
    return replicas.every((replica) => ready.includes(replica));
  });
}

it(
  'engines outlive a gateway that is killed under load, serve, and are adopted by the next one [item 73]',
  async () => {
    await using first = await startGateway({ yaml: YAML });
    await using clients = new Clients(first.url);
    gatewayId = first.gatewayId ?? '';
    const streams = await Promise.all(MODELS.flatMap((model) => [1, 2, 3].map(() => openStream(clients, model))));
    const records = MODELS.map((model) => recordOf(first.stateDir, model));
    const before = await enginesOf(gatewayId);
    expect(leadersOf(before)).toHaveLength(2);

    await first.kill();
    for (const { end } of streams) expect(await end).toMatchObject({ broken: true });
    await serveAlone(records);
    const linesAlone = records.map((record) => numberedLines(engineLog(first.stateDir, record)).length);

    const startedAt = performance.now();
    const second = await startGateway({ yaml: YAML, folder: first.folder });
    await using _second = second;
    await adopted(
      second,
      records.map(({ id }) => id),
    );
    expect(performance.now() - startedAt).toBeLessThan(ADOPTED_WITHIN_MS);
    expect(second.gatewayId).toBe(gatewayId);
    const after = await enginesOf(gatewayId);
    expect(after.map(({ pid, startTime }) => [pid, startTime])).toEqual(
      before.map(({ pid, startTime }) => [pid, startTime]),
    );

    await using again = new Clients(second.url);
    for (const { model, id } of records) {
      const answer = await again.chat(model);
      expect([answer.status, answer.headers['x-vgw-replica'], answer.headers['x-vgw-cold-start-ms']]).toEqual([
        200,
        id,
        '0',
      ]);
    }
    expect(recordsIn(second.stateDir)).toHaveLength(2);
    for (const [index, record] of records.entries()) {
      const lines = numberedLines(engineLog(second.stateDir, record));
      expect(lines.length).toBeGreaterThan(linesAlone[index] ?? 0);
      expect(lines).toEqual(lines.map((_, position) => position + 1));
    }
    second.signal('SIGTERM');
    expect(await second.exit).toEqual({ code: 0, signal: null });
    expect(await enginesOf(gatewayId)).toEqual([]);
  },
  ALONE_MS + 60_000,
);
