/** Model sizes from a hub that runs here and records what it is asked. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ModelSize } from '../../src/core/memory/model-shape.ts';
import {
  createModelFiles,
  type ModelFiles,
  type ModelFilesOptions,
} from '../../src/engines/model-files/model-files.ts';
import { createHttpClient } from '../../src/platform/http.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { HOUR, MINUTE } from '../../src/units.ts';
import { HubStub } from '../support/hub-stub.ts';
import { createTestPlatform, ScriptedHttp, type TestPlatform } from '../support/test-platform.ts';

const CONFIG = JSON.stringify({
  model_type: 'llama',
  num_hidden_layers: 2,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  hidden_size: 512,
  max_position_embeddings: 4096,
  torch_dtype: 'bfloat16',
});
const HINTS = { quantization: null, dtype: 'auto' };
const TOKEN = 'hf_canaryTokenThatMustNotLeak';
const REPO = 'org/model';

const http = createHttpClient();
let hub: HubStub;
let memory: TestPlatform;

beforeEach(async () => {
  hub = await HubStub.start();
  memory = createTestPlatform();
});
afterEach(async () => hub[Symbol.asyncDispose]());
afterAll(async () => http.close());

function modelFiles(changes: Partial<ModelFilesOptions> = {}): ModelFiles {
  return createModelFiles({
    platform: { files: memory.files, http, clock: systemClock },
    hub: hub.url,
    cacheFolders: [],
    token: null,
    offline: false,
    ...changes,
  });
}

function weightsOf(size: ModelSize): number | null {
  if (size.kind !== 'shape') throw new Error(size.reason);
  return size.shape.weightBytes;
}

async function reasonOf(files: ModelFiles, repo = REPO): Promise<{ reason: string; passing: boolean }> {
  const size = await files.size(repo, HINTS);
  if (size.kind === 'shape') throw new Error('it was found');
  return size;
}

describe('weights', () => {
  it('are the sizes of one set of files in the list of the repository [items 115, 116]', async () => {
    hub.repos.set(REPO, {
      files: {
        'config.json': { body: CONFIG },
        'model.safetensors.index.json': { body: '{}' },
        'model-00001-of-00002.safetensors': { size: 3_000, large: true },
        'model-00002-of-00002.safetensors': { size: 2_000, large: true },
        'consolidated.safetensors': { size: 5_000, large: true },
        'pytorch_model.bin': { size: 5_000, large: true },
        'original/consolidated.00.pth': { size: 5_000, large: true },
        'onnx/model.onnx': { size: 5_000, large: true },
      },
    });
    expect(weightsOf(await modelFiles().size(REPO, HINTS))).toBe(5_000);
    expect(hub.paths).toEqual([`GET /api/models/${REPO}?blobs=true`, `GET /${REPO}/resolve/main/config.json`]);
  });

  it('are asked for file by file where the list has no sizes, without a visit to the storage [item 115]', async () => {
    hub.repos.set(REPO, {
      withoutSizes: true,
      files: {
        'config.json': { body: CONFIG },
        'model-00001-of-00002.safetensors': { size: 3_000, large: true },
        'model-00002-of-00002.safetensors': { size: 2_000 },
      },
    });
    expect(weightsOf(await modelFiles().size(REPO, HINTS))).toBe(5_000);
    expect(hub.paths).toContain(`HEAD /${REPO}/resolve/main/model-00001-of-00002.safetensors`);
    expect(hub.asked.filter(({ origin }) => origin === 'storage')).toEqual([]);
  });

  it('are those that the index names where the names of the files leave it open [item 116]', async () => {
    const index = JSON.stringify({ metadata: { total_size: 1 }, weight_map: { a: 'part_a.safetensors' } });
    hub.repos.set(REPO, {
      files: {
        'config.json': { body: CONFIG },
        'model.safetensors.index.json': { body: index },
        'part_a.safetensors': { size: 7_000, large: true },
        'part_b.safetensors': { size: 6_000, large: true },
      },
    });
    expect(weightsOf(await modelFiles().size(REPO, HINTS))).toBe(7_000);
  });

  it('are what the hub counted, and at last what the index states [item 115]', async () => {
    const info = { safetensors: { parameters: { BF16: 1_000, F32: 10 } } };
    hub.repos.set(REPO, { info, files: { 'config.json': { body: CONFIG } } });
    expect(weightsOf(await modelFiles().size(REPO, HINTS))).toBe(2_040);
    hub.repos.set('org/stated', {
      files: {
        'config.json': { body: CONFIG },
        'model.safetensors.index.json': { body: '{"metadata":{"total_size":9000}}' },
      },
    });
    expect(weightsOf(await modelFiles().size('org/stated', HINTS))).toBe(9_000);
  });

  it('come from the files alone where a mirror has no list of them', async () => {
    hub.repos.set(REPO, {
      files: { 'config.json': { body: CONFIG }, 'model.safetensors': { size: 4_000, large: true } },
    });
    hub.interfere = (request, reply) => {
      if (request.url?.startsWith('/api/') !== true) return false;
      reply.writeHead(404).end();
      return true;
    };
    expect(weightsOf(await modelFiles().size(REPO, HINTS))).toBe(4_000);
  });

  it('count as loaded: 32 bits as 16, quantised while loading as quantised', async () => {
    const config = JSON.stringify({ ...(JSON.parse(CONFIG) as object), torch_dtype: 'float32', vocab_size: 100 });
    hub.repos.set(REPO, { files: { 'config.json': { body: config }, 'model.safetensors': { size: 8_000_000 } } });
    const files = modelFiles();
    expect(weightsOf(await files.size(REPO, HINTS))).toBe(4_000_000);
    expect(weightsOf(await files.size(REPO, { ...HINTS, dtype: 'float32' }))).toBe(8_000_000);
    const tables = 2 * 100 * 512 * 2;
    expect(weightsOf(await files.size(REPO, { ...HINTS, quantization: 'fp8' }))).toBe(
      tables + (4_000_000 - tables) / 2,
    );
  });

  it('are unknown, the rest known, where there is no file of weights', async () => {
    hub.repos.set(REPO, { files: { 'config.json': { body: CONFIG.replace('llama', 'novel') } } });
    const size = await modelFiles().size(REPO, HINTS);
    expect(weightsOf(size)).toBeNull();
    expect(size.kind === 'shape' && size.shape.nativeLength).toBe(4096);
  });
});

describe('the token', () => {
  const gated = { 'config.json': { body: CONFIG }, 'model.safetensors': { size: 4_000, large: true } };

  it('opens a gated repository, from the environment or its file [items 115, 134]', async () => {
    hub.repos.set(REPO, { files: gated, token: TOKEN });
    expect(weightsOf(await modelFiles({ token: TOKEN }).size(REPO, HINTS))).toBe(4_000);
    await memory.files.writeAtomic('/home/token', `${TOKEN}\n`);
    expect(weightsOf(await modelFiles({ tokenFile: '/home/token' }).size(REPO, HINTS))).toBe(4_000);
  });

  it('is asked for, or called wrong, without ever being shown [item 134]', async () => {
    hub.repos.set(REPO, { files: gated, token: 'another' });
    const without = await reasonOf(modelFiles());
    expect(without.reason).toContain('HF_TOKEN');
    expect(without.passing).toBe(true);
    const wrong = await reasonOf(modelFiles({ token: TOKEN }));
    expect(wrong.reason).toContain('licence');
    expect(wrong.passing).toBe(true);
    expect(wrong.reason).not.toContain(TOKEN);
  });

  it('goes to no other host, however a redirect asks for it [item 134]', async () => {
    hub.repos.set(REPO, {
      token: TOKEN,
      files: { 'config.json': { body: CONFIG, large: true }, 'model.safetensors': { size: 4_000 } },
    });
    expect(weightsOf(await modelFiles({ token: TOKEN }).size(REPO, HINTS))).toBe(4_000);
    const storage = hub.asked.filter(({ origin }) => origin === 'storage');
    expect(storage).toMatchObject([{ method: 'GET', authorization: undefined }]);
    expect(
      hub.asked.filter(({ origin }) => origin === 'hub').every((each) => each.authorization === `Bearer ${TOKEN}`),
    ).toBe(true);
  });

  it('follows a renamed repository on the same host', async () => {
    hub.repos.set('org/new', { token: TOKEN, files: gated });
    hub.interfere = (request, reply) => {
      if (request.url?.includes(REPO) !== true) return false;
      reply.writeHead(307, { location: request.url.replace(REPO, 'org/new') }).end();
      return true;
    };
    expect(weightsOf(await modelFiles({ token: TOKEN }).size(REPO, HINTS))).toBe(4_000);
  });
});

describe('a hub that does not help', () => {
  it('has no such model: nothing to wait for', async () => {
    const { reason, passing } = await reasonOf(modelFiles());
    expect(reason).toContain(`no model ${REPO}`);
    expect(passing).toBe(false);
  });

  it('wants fewer requests, is broken, or sends in circles: it may pass [item 124]', async () => {
    let status = 429;
    hub.interfere = (request, reply) => {
      reply.writeHead(status, { location: request.url ?? '/' }).end();
      return true;
    };
    const files = modelFiles();
    expect(await reasonOf(files)).toMatchObject({ passing: true, reason: expect.stringContaining('429') as string });
    expect(hub.asked).toHaveLength(1);
    status = 503;
    expect(await reasonOf(files)).toMatchObject({ passing: true, reason: expect.stringContaining('503') as string });
    // Once more, after a moment.
    expect(hub.asked).toHaveLength(3);
    status = 302;
    expect(await reasonOf(files)).toMatchObject({
      passing: true,
      reason: expect.stringContaining('circles') as string,
    });
  });

  it('cannot be reached, or does not answer: it may pass, and says what to check [item 124]', async () => {
    const scripted = new ScriptedHttp();
    const platform = { files: memory.files, http: scripted, clock: systemClock };
    const files = modelFiles({ platform, hub: 'https://hub.example', token: TOKEN });
    for (const code of ['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT', 'CERT_HAS_EXPIRED']) {
      scripted.answer = (url) => {
        throw Object.assign(new Error(`${url} ${TOKEN}`), { code });
      };
      const { reason, passing } = await reasonOf(files);
      expect(passing).toBe(true);
      expect(reason).toContain(`hub.example cannot be reached (${code})`);
      expect(reason).not.toContain(TOKEN);
    }
    scripted.answer = () => ({ status: 302, body: '', headers: { location: 'http://hub.example/plain' } });
    expect((await reasonOf(files)).reason).toContain('not encrypted');
    expect(scripted.asked.every((url) => url.startsWith('https:'))).toBe(true);
    expect((await reasonOf(modelFiles({ hub: 'no address' }))).reason).toContain('HF_ENDPOINT');
  });

  it('is given up after two minutes, or when nobody wants the answer any more [item 124]', async () => {
    const scripted = new ScriptedHttp();
    scripted.answer = async (_url, { signal }) =>
      new Promise((_resolve, reject) => {
        const end = (): void => reject(new Error('aborted'));
        if (signal?.aborted === true) end();
        signal?.addEventListener('abort', end, { once: true });
      });
    const files = modelFiles({ platform: { ...memory, http: scripted } });
    const size = files.size(REPO, HINTS);
    await memory.clock.advanceAsync(2 * MINUTE);
    expect(await size).toMatchObject({ kind: 'unknown', passing: true });

    const leaving = new AbortController();
    const unwanted = files.size(REPO, HINTS, leaving.signal);
    leaving.abort(new Error('nobody wants it'));
    expect(await unwanted).toMatchObject({ kind: 'unknown', passing: true });
  });

  it('answers with something else than was asked for', async () => {
    hub.interfere = (_request, reply) => {
      reply.end('<html>captive portal</html>');
      return true;
    };
    expect((await reasonOf(modelFiles())).reason).toContain('config.json');
  });

  it('is not asked at all for names that are none', async () => {
    for (const name of ['a/b/c', 'org/.', 'org/..', 'org/na me', '']) {
      expect(await reasonOf(modelFiles(), name)).toMatchObject({ passing: false });
    }
    expect((await modelFiles().size(REPO, { ...HINTS, revision: '../../x' })).kind).toBe('unknown');
    expect(hub.asked).toEqual([]);
  });

  it('is not asked offline', async () => {
    hub.repos.set(REPO, { files: { 'config.json': { body: CONFIG } } });
    const { reason, passing } = await reasonOf(modelFiles({ offline: true, cacheFolders: ['/cache/hub'] }));
    expect(reason).toContain('HF_HUB_OFFLINE');
    expect(reason).toContain('/cache/hub');
    expect(passing).toBe(true);
    expect(hub.asked).toEqual([]);
  });
});

describe('what was found', () => {
  const files = { 'config.json': { body: CONFIG }, 'model.safetensors': { size: 4_000 } };
  const kept = '/state/model-sizes.json';

  it('that nests without end costs that model its estimate, and no other one', async () => {
    const deep = `{"model_type":"llama","x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    hub.repos.set('org/deep', { files: { 'config.json': { body: deep }, 'model.safetensors': { size: 10 } } });
    hub.repos.set(REPO, { files: { 'config.json': { body: CONFIG }, 'model.safetensors': { size: 4_000 } } });
    const files = modelFiles({ stateDir: '/state' });
    await files.size('org/deep', HINTS);
    expect(weightsOf(await files.size(REPO, HINTS))).toBe(4_000);
    expect(weightsOf(await modelFiles({ stateDir: '/state', offline: true }).size(REPO, HINTS))).toBe(4_000);
  });

  it('is kept on disk: the next look asks nobody, and a hub that is away changes nothing [item 124]', async () => {
    hub.repos.set(REPO, { files });
    expect(weightsOf(await modelFiles({ stateDir: '/state' }).size(REPO, HINTS))).toBe(4_000);
    const asked = hub.asked.length;
    expect(weightsOf(await modelFiles({ stateDir: '/state' }).size(REPO, HINTS))).toBe(4_000);
    expect(weightsOf(await modelFiles({ stateDir: '/state', offline: true }).size(REPO, HINTS))).toBe(4_000);
    expect(hub.asked).toHaveLength(asked);
    expect(JSON.stringify(await memory.files.readText(kept))).not.toContain(TOKEN);
  });

  it('is asked for again after a day, and stays in use when nobody answers then [item 124]', async () => {
    hub.repos.set(REPO, { files });
    const aged = { ...systemClock, wall: () => systemClock.wall() + 25 * HOUR };
    await modelFiles({ stateDir: '/state' }).size(REPO, HINTS);
    const later = modelFiles({ stateDir: '/state', platform: { files: memory.files, http, clock: aged } });
    hub.repos.set(REPO, { files: { ...files, 'model.safetensors': { size: 6_000 } } });
    hub.interfere = (_request, reply) => {
      reply.writeHead(500).end();
      return true;
    };
    expect(weightsOf(await later.size(REPO, HINTS))).toBe(4_000);
    hub.interfere = () => false;
    expect(weightsOf(await later.size(REPO, HINTS))).toBe(6_000);
  });

  it('holds no failure: the next look asks again [item 124]', async () => {
    const looking = modelFiles({ stateDir: '/state' });
    await reasonOf(looking);
    hub.repos.set(REPO, { files });
    expect(weightsOf(await looking.size(REPO, HINTS))).toBe(4_000);
  });

  it('is one per repository and revision', async () => {
    hub.repos.set(REPO, { files });
    const looking = modelFiles({ stateDir: '/state' });
    await looking.size(REPO, HINTS);
    await looking.size(REPO, { ...HINTS, revision: 'refs/pr/1' });
    expect(hub.paths).toContain(`GET /${REPO}/resolve/refs%2Fpr%2F1/config.json`);
  });

  it('survives a broken file, a broken entry and a full disk', async () => {
    hub.repos.set(REPO, { files });
    const broken = { key: `${hub.url} ${REPO}@main`, at: 'yesterday', facts: {} };
    for (const text of [
      'not JSON',
      '[]',
      '{"version":1,"entries":7}',
      JSON.stringify({ version: 1, entries: [broken] }),
    ]) {
      await memory.files.writeAtomic(kept, text);
      expect(weightsOf(await modelFiles({ stateDir: '/state' }).size(REPO, HINTS))).toBe(4_000);
    }
    await memory.files.remove(kept);
    memory.files.failWrites = 'ENOSPC';
    expect(weightsOf(await modelFiles({ stateDir: '/state' }).size(REPO, HINTS))).toBe(4_000);
  });

  it('is bounded', async () => {
    const entry = (index: number): unknown => ({
      key: `hub org/model-${index}@main`,
      at: index,
      facts: { config: {}, quantConfig: null, weights: null, statedBytes: 1 },
    });
    const entries = Array.from({ length: 400 }, (_, index) => entry(index));
    await memory.files.writeAtomic(kept, JSON.stringify({ version: 1, entries }));
    hub.repos.set(REPO, { files });
    await modelFiles({ stateDir: '/state' }).size(REPO, HINTS);
    const document = JSON.parse((await memory.files.readText(kept)) ?? '{}') as { entries: { key: string }[] };
    expect(document.entries).toHaveLength(256);
    expect(document.entries.at(-1)?.key).toContain(REPO);
  });
});
