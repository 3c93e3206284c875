import { describe, expect, it } from 'vitest';
import { adminBench } from '../../test/support/admin-bench.ts';
import { PLAN } from '../../test/support/plan-report.ts';
import { planAnswer } from './contract.ts';

describe('GET /gateway/plan', () => {
  it('answers what would happen, by the names of its schema [item 114]', async () => {
    const bench = await adminBench();
    bench.control.report = PLAN;
    const answer: unknown = await (await bench.ask('/gateway/plan')).json();
    expect(planAnswer.parse(answer)).toEqual(answer);
    expect(answer).toEqual(PLAN);
  });

  it('answers for one model, by its name or an alias', async () => {
    const bench = await adminBench();
    bench.control.report = PLAN;
    const modelsOf = async (query: string): Promise<string[]> => {
      const response = await bench.ask(`/gateway/plan?model=${query}`);
      return Object.keys(planAnswer.parse(await response.json()).models);
    };
    expect(await modelsOf('llama')).toEqual(['llama']);
    expect(await modelsOf('gpt-4o-mini')).toEqual(['llama']);
    expect(await modelsOf('Qwen%2FQwen2.5-7B')).toEqual(['Qwen/Qwen2.5-7B']);
  });

  it('refuses an unknown model with the names that there are', async () => {
    const bench = await adminBench();
    const response = await bench.ask('/gateway/plan?model=nobody');
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      error: { code: 'model_not_found', message: expect.stringContaining('llama, Qwen/Qwen2.5-7B') },
    });
  });

  it('is for those who may see metrics, without keys for everybody', async () => {
    const bench = await adminBench(`
auth: { keys: [{ id: a, key: inference-key }, { id: m, key: metrics-key, roles: [metrics] }] }
models: { llama: { url: "http://127.0.0.1:8000" } }
`);
    const ask = async (key: string): Promise<number> =>
      (await bench.ask('/gateway/plan', { headers: { authorization: `Bearer ${key}` } })).status;
    expect(await ask('inference-key')).toBe(403);
    expect(await ask('metrics-key')).toBe(200);
    const open = await adminBench();
    expect((await open.ask('/gateway/plan', {}, { remoteAddress: '10.1.2.3' })).status).toBe(200);
  });
});
