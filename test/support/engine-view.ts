/** The stand-in behind a model of a running gateway, spoken to past the gateway. Needs `FAKE_VLLM_CONTROL: '1'`. */
import { eventually } from './eventually.ts';
import type { TestGateway } from './in-process-gateway.ts';

type Status = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>;

export async function engineUrl(gateway: TestGateway, model: string): Promise<string> {
  const status = (await gateway.status()) as Status;
  const replica = Object.values(status['active_containers'] ?? {}).find((entry) => entry['model_id'] === model);
  if (replica === undefined) throw new Error(`${model} has no engine`);
  return `http://127.0.0.1:${String(replica['port'])}`;
}

export async function engineStats(gateway: TestGateway, model: string): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`${await engineUrl(gateway, model)}/__fake/stats`);
  return (await answer.json()) as Record<string, number>;
}

/** `{fault, ttft_ms, token_ms, tokens}`. */
export async function configureEngine(
  gateway: TestGateway,
  model: string,
  change: Readonly<Record<string, unknown>>,
): Promise<void> {
  const answer = await fetch(`${await engineUrl(gateway, model)}/__fake/config`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(change),
  });
  if (!answer.ok) throw new Error(`the engine of ${model} refused: ${await answer.text()}`);
}

/** What `/gateway/status` says of one model. */
export async function modelStatus(gateway: TestGateway, model: string): Promise<Readonly<Record<string, unknown>>> {
  const status = (await gateway.status()) as Status;
  return status['models']?.[model] ?? {};
}

/** Waits until so many requests of the model are with its engine, and so many wait. */
export async function untilBusy(gateway: TestGateway, model: string, inFlight: number, queued: number): Promise<void> {
  await eventually(`${model} has ${inFlight} in flight and ${queued} waiting`, async () => {
    const found = await modelStatus(gateway, model);
    return found['in_flight'] === inFlight && found['queued'] === queued;
  });
}
