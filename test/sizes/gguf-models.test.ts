/** Sizes of GGUF models: on this machine, on a hub, at an address. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { estimateNeed } from '../../src/core/memory/estimate.ts';
import type { ModelSize } from '../../src/core/memory/model-shape.ts';
import { createModelFiles, type ModelFiles } from '../../src/engines/model-files/model-files.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemFiles } from '../../src/platform/files.ts';
import { createHttpClient } from '../../src/platform/http.ts';
import { ggufBytes, type GgufPairs } from '../support/gguf-bytes.ts';
import { HubStub } from '../support/hub-stub.ts';

interface Fixture {
  readonly file: string;
  readonly size: number;
  readonly metadata: GgufPairs;
}

const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/hf/bartowski--Meta-Llama-3.1-8B-Instruct-GGUF/gguf.json', import.meta.url), 'utf8'),
) as Fixture;
const HEADER = ggufBytes(fixture.metadata);
const REPO = 'bartowski/Meta-Llama-3.1-8B-Instruct-GGUF';
const HINTS = { quantization: null, dtype: 'auto' };
const TOKEN = 'hf_canary';

const http = createHttpClient();
let hub: HubStub;
let root: string;
beforeEach(async () => {
  hub = await HubStub.start();
  root = mkdtempSync(join(tmpdir(), 'gguf-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});
afterAll(async () => http.close());

function modelFiles(offline = false): ModelFiles {
  return createModelFiles({
    platform: { files: systemFiles, http, clock: systemClock },
    hub: hub.url,
    cacheFolders: [join(root, 'hub')],
    token: TOKEN,
    offline,
  });
}

function shapeOf(size: ModelSize) {
  if (size.kind !== 'shape') throw new Error(size.reason);
  return size.shape;
}

function put(path: string, size: number): string {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, HEADER);
  truncateSync(full, size);
  return full;
}

describe('a GGUF model', () => {
  it('takes the bytes of its file, and KV cache as its head says', async () => {
    hub.repos.set(REPO, { files: { [fixture.file]: { body: HEADER, size: fixture.size, large: true } } });
    const shape = shapeOf(await modelFiles().size(`${REPO}:Q4_K_M`, HINTS));
    expect(shape.weightBytes).toBe(4_920_739_232);
    const sizing = {
      utilization: 0.9,
      maxModelLen: 0,
      kvSequences: 1,
      maxNumSeqs: 1,
      maxBatchedTokens: 2048,
      kvElementBytes: null,
      weightElementBytes: null,
      colocate: false,
      autoParallel: true,
    };
    const rules = {
      placementMode: 'budget',
      eviction: 'lru',
      overheadFactor: 1,
      overhead: 0,
      colocateMargin: 0,
      weightOverhead: 1,
      budgetFraction: 0.9,
    } as const;
    // 32 layers × 2 × 8 KV heads × 128 × 2 bytes for each of 131,072 tokens.
    expect(estimateNeed(shape, sizing, rules, 1)?.kvBytes).toBe(131_072 * 32 * 2 * 8 * 128 * 2);
    expect(hub.asked.filter(({ origin }) => origin === 'storage')).toMatchObject([
      { method: 'GET', authorization: undefined },
    ]);
  });

  it('counts all shards and no projector [item 131]', async () => {
    hub.repos.set(REPO, {
      withoutSizes: true,
      files: {
        'm-Q8_0-00001-of-00002.gguf': { body: HEADER, size: 7_000, large: true },
        'm-Q8_0-00002-of-00002.gguf': { size: 5_000, large: true },
        'mmproj-m-Q8_0.gguf': { size: 900, large: true },
      },
    });
    expect(shapeOf(await modelFiles().size(`${REPO}:Q8_0`, HINTS)).weightBytes).toBe(12_000);
  });

  it('is found in the cache and in folders, offline [item 116]', async () => {
    const cache = `hub/models--${REPO.replace('/', '--')}`;
    put(`${cache}/snapshots/abc/m-Q4_0.gguf`, 5_000);
    put(`${cache}/snapshots/abc/Q8_0/m-Q8_0-00001-of-00002.gguf`, 6_000);
    put(`${cache}/snapshots/abc/Q8_0/m-Q8_0-00002-of-00002.gguf`, 4_000);
    mkdirSync(join(root, cache, 'refs'));
    writeFileSync(join(root, cache, 'refs/main'), 'abc');
    const files = modelFiles(true);
    expect(shapeOf(await files.size(`${REPO}:Q4_0`, HINTS)).weightBytes).toBe(5_000);
    expect(shapeOf(await files.size(`${REPO}:Q8_0`, HINTS)).weightBytes).toBe(10_000);
    expect(await files.isCached(`${REPO}:Q8_0`)).toBe(true);
    expect(await files.isCached(`${REPO}:Q6_K`)).toBe(false);
    const path = put('models/mine.gguf', 3_000);
    put('models/other.gguf', 9_000);
    expect(shapeOf(await files.size(path, HINTS)).weightBytes).toBe(3_000);
    expect(await files.isCached(path)).toBe(true);
    expect(await files.size('/nowhere/mine.gguf', HINTS)).toMatchObject({ kind: 'unknown', passing: true });
    expect(hub.asked).toEqual([]);
  });

  it('may be named by the address of its file, as the page of the hub shows it [item 130]', async () => {
    hub.repos.set(REPO, { token: TOKEN, files: { [fixture.file]: { body: HEADER, size: 8_000, large: true } } });
    const size = await modelFiles().size(`${hub.url}/${REPO}/blob/main/${fixture.file}`, HINTS);
    expect(shapeOf(size).weightBytes).toBe(8_000);
    hub.asked.length = 0;
    await modelFiles().size(`${hub.storageUrl}/${REPO}/resolve/main/${fixture.file}`, HINTS);
    expect(hub.asked.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it('is not guessed where there are several, and a repository that holds nothing else says how to name one', async () => {
    hub.repos.set(REPO, { files: { 'a-Q4_0.gguf': { body: HEADER }, 'a-Q8_0.gguf': { body: HEADER } } });
    const several = await modelFiles().size(REPO, HINTS);
    expect(several).toMatchObject({
      kind: 'unknown',
      passing: false,
      reason: expect.stringContaining('Q4_0, Q8_0') as string,
    });
    hub.repos.set('org/plain', { files: { 'a-Q4_0.gguf': { body: HEADER } } });
    const plain = await modelFiles().size('org/plain', HINTS);
    expect(plain).toMatchObject({ reason: expect.stringContaining('org/plain:QUANT') as string });
    hub.repos.set('org/odd', { files: { 'a-Q4_0.gguf': { body: 'no such head' } } });
    expect(await modelFiles().size('org/odd:Q4_0', HINTS)).toMatchObject({ kind: 'unknown', passing: false });
  });
});

describe('the tokenizer of a GGUF model [item 132]', () => {
  const config = { 'config.json': { body: '{}' } };

  it('is that of the model which its card names, if that can be read', async () => {
    hub.repos.set(REPO, { files: {}, info: { cardData: { base_model: ['meta/gated', 'meta/open'] } } });
    hub.repos.set('meta/gated', { files: config, token: 'another' });
    hub.repos.set('meta/open', { files: config });
    expect(await modelFiles().tokenizerRepo(`${REPO}:Q4_K_M`)).toBe('meta/open');
  });

  it('is that of its name without the ending, if there is one', async () => {
    hub.repos.set('bartowski/Meta-Llama-3.1-8B-Instruct', { files: config });
    expect(await modelFiles().tokenizerRepo(`${REPO}:Q4_K_M`)).toBe('bartowski/Meta-Llama-3.1-8B-Instruct');
  });

  it('is the one inside the file in every other case', async () => {
    expect(await modelFiles().tokenizerRepo(`${REPO}:Q4_K_M`)).toBeNull();
    expect(await modelFiles().tokenizerRepo('org/plain')).toBeNull();
    expect(await modelFiles(true).tokenizerRepo(`${REPO}:Q4_K_M`)).toBeNull();
  });
});
