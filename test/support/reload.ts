/** Another configuration for a gateway of a test, by its API. */
import { expect } from 'vitest';
import { errorAnswer, reloadAnswer, type ReloadAnswer } from '../../src/admin/contract.ts';
import type { TestGateway } from './in-process-gateway.ts';
import type { SimulatedModel } from './simulated-fleet.ts';

export async function reload(gateway: TestGateway, query = ''): Promise<ReloadAnswer> {
  const answer = await gateway.post(`/gateway/reload${query}`, '');
  const body: unknown = await answer.json();
  expect(answer.status, JSON.stringify(body)).toBe(200);
  return reloadAnswer.parse(body);
}

/** What is answered when the configuration cannot be used. */
export async function refusedReload(gateway: TestGateway): Promise<ReloadAnswer & { readonly message: string }> {
  const answer = await gateway.post('/gateway/reload', '');
  const body: unknown = await answer.json();
  expect(answer.status, JSON.stringify(body)).toBe(422);
  const { error } = errorAnswer.parse(body);
  expect(error).toMatchObject({ code: 'config_invalid', type: 'invalid_request_error' });
  return { ...reloadAnswer.parse(body), message: error.message };
}

export const model = (name: string, ...keys: readonly string[]): SimulatedModel => ({ name, keys });
/** Counts in the file, so that each is another one. */
export const note = (count: number): string => `description: "the ${count}th"`;
