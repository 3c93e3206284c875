/** What those who wait are told of a start: comments, status, `Retry-After`; by what earlier starts took, over restarts too. */
import Anthropic from '@anthropic-ai/sdk';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { clientOf } from '../support/openai-client.ts';
import { statusOf } from '../support/simulated-fleet.ts';

const START_MS = 2_000;
const MESSAGES = [{ role: 'user' as const, content: 'Hello nonce:p1' }];
const ASK = { model: 'slow', messages: MESSAGES, stream: true as const };
const YAML = gatewayYaml({
  slow: {
    repo: 'org/slow',
    keepalive: { after: '100ms', every: '100ms' },
    // Three may wait while it is cold.
    max_queue_size: 1,
    max_concurrent: 2,
    env: { ...QUICK, FAKE_VLLM_START_MS: String(START_MS) },
  },
});

let folder = '';
const gatewayIds: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-progress-'));
});

afterAll(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  await rm(folder, { recursive: true, force: true });
});

async function open(): Promise<TestGateway> {
  const gateway = await startTestGateway({ yaml: YAML, folder });
  gatewayIds.push(gateway.gateway.id);
  return gateway;
}

/** The comments before the first event of an answer that came whole. */
function commentsOf(text: string): readonly string[] {
  expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
  return text.slice(0, text.indexOf('data: ')).split('\n\n').slice(0, -1);
}

/** What starts of it took, as it stands on the disk: on a busy machine much longer than the engine pretends. */
async function learnedMs(): Promise<number> {
  const { starts } = JSON.parse(await readFile(join(folder, 'data', 'start_times.json'), 'utf8')) as {
    starts: { phases: { lasted: number }[] }[];
  };
  expect(starts).toHaveLength(1);
  return (starts[0]?.phases ?? []).reduce((sum, { lasted }) => sum + lasted, 0);
}

const replicaOf = (status: StatusAnswer) => Object.values(status.replicas).find(({ model }) => model === 'slow');

async function untilStarting(gateway: TestGateway): Promise<NonNullable<ReturnType<typeof replicaOf>>> {
  return eventually('it starts', async () => {
    const replica = replicaOf(await statusOf(gateway));
    return replica?.state === 'starting' && replica;
  });
}

it('a first start is told by its phases, and nobody claims to know its end', async () => {
  await using gateway = await open();
  const answer = gateway.post('/v1/chat/completions', ASK);
  expect((await untilStarting(gateway)).eta_s).toBeNull();
  const comments = commentsOf(await (await answer).text());
  expect(comments.length).toBeGreaterThan(5);
  for (const comment of comments) expect(comment).toMatch(/^: (?:waiting|starting slow(?:, [a-zA-Z0-9 %]+)*)$/);
  expect(new Set(comments).size).toBeGreaterThan(1);
  expect(comments).toContainEqual(expect.stringMatching(/^: starting slow, (?!.* for that).*[a-z]$/));
  expect(comments.filter((comment) => /about/.test(comment) && !comment.endsWith('for that'))).toEqual([]);
});

it('a later one is foretold, after a restart too: in the status, in comments, in Retry-After, to the official clients', async () => {
  const learned = await learnedMs();
  expect(learned).toBeGreaterThan(0.9 * START_MS);
  await using gateway = await open();
  const options = { baseURL: gateway.url, apiKey: 'sk-none', maxRetries: 0 };
  const raw = gateway.post('/v1/chat/completions', ASK);
  const chunks = await clientOf(gateway).chat.completions.create(ASK);
  const message = new Anthropic(options).messages.stream({ model: 'slow', max_tokens: 16, messages: MESSAGES });
  const { eta_s: eta } = await untilStarting(gateway);
  expect(eta).toBeGreaterThan(0);
  // A start that is late is taken to need as long again as it is late by, and no longer than all of it.
  expect(eta).toBeLessThan((2 * learned) / 1_000);
  await eventually('all three wait', async () => (await statusOf(gateway)).models['slow']?.queued === 3);
  const refused = await gateway.post('/v1/chat/completions', ASK);
  expect(refused.status).toBe(429);
  // Without what was learned it would be a guess of ten seconds.
  const hint = Number(refused.headers.get('retry-after-ms'));
  expect(hint).toBeGreaterThanOrEqual(1_000);
  expect(hint).toBeLessThan(Math.max(7_000, 3 * learned));
  expect(refused.headers.get('retry-after')).toBe(String(Math.ceil(hint / 1_000)));

  const comments = commentsOf(await (await raw).text());
  expect(comments.filter((comment) => /^: starting slow, .+, about \d+ s$/.test(comment)).length).toBeGreaterThan(3);
  let told = '';
  for await (const chunk of chunks) told += chunk.choices[0]?.delta.content ?? '';
  expect(told).toContain('nonce:p1');
  expect((await message.finalMessage()).content[0]).toMatchObject({
    text: expect.stringContaining('nonce:p1') as string,
  });
});

it('a model that a reload takes away and brings back starts as it did', async () => {
  await using gateway = await open();
  for (const yaml of [gatewayYaml({ other: { repo: 'org/other' } }), YAML]) {
    await gateway.rewrite(yaml);
    expect(await (await gateway.post('/gateway/reload', '')).json()).toMatchObject({ result: 'applied' });
  }
  await gateway.post('/gateway/models/slow/load', '');
  expect((await untilStarting(gateway)).eta_s).toBeGreaterThan(0);
});

it('what was learned is dropped with a warning when its file is damaged', async () => {
  const path = join(folder, 'data', 'start_times.json');
  const text = await readFile(path, 'utf8');
  expect(text).toContain('"slow"');
  await writeFile(path, text.slice(0, text.length / 2));
  await using gateway = await open();
  expect(gateway.lines.filter((line) => line.includes('the file of start times is damaged'))).toHaveLength(1);
  await gateway.post('/gateway/models/slow/load', '');
  expect((await untilStarting(gateway)).eta_s).toBeNull();
});
