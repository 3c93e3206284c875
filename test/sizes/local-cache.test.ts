/** Model sizes without any network: the cache of huggingface_hub, and plain folders. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createModelFiles,
  type ModelFiles,
  type ModelFilesOptions,
} from '../../src/engines/model-files/model-files.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemFiles } from '../../src/platform/files.ts';
import { ScriptedHttp } from '../support/test-platform.ts';

const CONFIG = {
  model_type: 'llama',
  num_hidden_layers: 2,
  num_attention_heads: 8,
  hidden_size: 512,
  intermediate_size: 2048,
  vocab_size: 1000,
  max_position_embeddings: 4096,
};
const HINTS = { quantization: null, dtype: 'auto' };
const COMMIT = 'a'.repeat(40);

let root: string;
let http: ScriptedHttp;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hub-cache-'));
  http = new ScriptedHttp();
});
afterEach(() => rmSync(root, { recursive: true }));

function modelFiles(changes: Partial<ModelFilesOptions> = {}): ModelFiles {
  return createModelFiles({
    platform: { files: systemFiles, http, clock: systemClock },
    hub: 'https://hub.example',
    cacheFolders: [join(root, 'hub')],
    token: null,
    offline: true,
    ...changes,
  });
}

/** A file of so many bytes, or with this text. */
function put(path: string, content: number | string | object): void {
  const full = join(root, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(
    full,
    typeof content === 'number' ? '' : typeof content === 'string' ? content : JSON.stringify(content),
  );
  if (typeof content === 'number') truncateSync(full, content);
}

/** As the hub's client lays it out: links of the snapshot to blobs. `null` = a link to a blob that is not there. */
function putSnapshot(
  repo: string,
  files: Readonly<Record<string, number | string | object | null>>,
  ref = 'main',
): void {
  const folder = `hub/models--${repo.replace('/', '--')}`;
  put(`${folder}/refs/${ref}`, COMMIT);
  Object.entries(files).forEach(([name, content], index) => {
    if (content !== null) put(`${folder}/blobs/${index}`, content);
    const link = join(root, folder, 'snapshots', COMMIT, name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, folder, 'blobs', String(index)), link);
  });
}

async function weightsOf(files: ModelFiles, repo: string, hints = HINTS): Promise<number | null> {
  const size = await files.size(repo, hints);
  if (size.kind !== 'shape') throw new Error(size.reason);
  return size.shape.weightBytes;
}

const INDEX = {
  metadata: { total_size: 9_999 },
  weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
};
const WHOLE = {
  'config.json': CONFIG,
  'model.safetensors.index.json': INDEX,
  'model-00001-of-00002.safetensors': 3_000,
  'model-00002-of-00002.safetensors': 2_000,
  'consolidated.safetensors': 5_000,
};

describe('the local cache', () => {
  it('are not waited for where a pipe lies in place of a file', async () => {
    putSnapshot('org/model', { 'config.json': CONFIG, 'model.safetensors': 3_000 });
    const ref = join(root, 'hub/models--org--model/refs/main');
    rmSync(ref, { force: true });
    mkdirSync(dirname(ref), { recursive: true });
    execFileSync('mkfifo', [ref]);
    expect((await modelFiles().size('org/model', HINTS)).kind).toBe('unknown');
  });

  it('sizes a model through its links, without a word to the hub [items 116, 124]', async () => {
    putSnapshot('org/model', WHOLE);
    const files = modelFiles({ offline: false });
    expect(await weightsOf(files, 'org/model')).toBe(5_000);
    expect(await files.isCached('org/model')).toBe(true);
    expect(http.asked).toEqual([]);
  });

  it('is not whole while a shard, or the configuration, is missing', async () => {
    putSnapshot('org/model', { ...WHOLE, 'model-00002-of-00002.safetensors': null });
    expect(await modelFiles().isCached('org/model')).toBe(false);
    putSnapshot('org/unindexed', { 'config.json': CONFIG, 'model-00001-of-00002.safetensors': 3_000 });
    expect(await modelFiles().isCached('org/unindexed')).toBe(false);
    putSnapshot('org/unconfigured', { 'model.safetensors': 3_000 });
    expect(await modelFiles().isCached('org/unconfigured')).toBe(false);
    expect(await modelFiles().isCached('org/absent')).toBe(false);
    expect(await modelFiles().isCached('../../etc')).toBe(false);
    expect(await modelFiles().isCached('org/model', '../../etc')).toBe(false);
  });

  it('says enough with half a download, from its index or the build of its class', async () => {
    const { 'model-00001-of-00002.safetensors': _first, ...half } = WHOLE;
    const counted = 2 * (2 * 1000 * 512 + 2 * (4 * 512 * 512 + 3 * 512 * 2048 + 2 * 512));
    putSnapshot('org/half', {
      ...half,
      'model.safetensors.index.json': { ...INDEX, metadata: { total_size: counted } },
    });
    expect(await weightsOf(modelFiles(), 'org/half')).toBe(counted);
    putSnapshot('org/bare', { 'config.json': CONFIG });
    expect(await weightsOf(modelFiles(), 'org/bare')).toBe(counted);
  });

  it('does not believe an index that counts two bytes for each of its fp8 weights', async () => {
    const quantization_config = { quant_method: 'fp8', weight_block_size: [128, 128] };
    const config = { ...CONFIG, hidden_size: 4096, intermediate_size: 8192, quantization_config };
    const layers = 2 * (4 * 4096 * 4096 + 3 * 4096 * 8192);
    const rest = 2 * 1000 * 4096 + 2 * 2 * 4096;
    putSnapshot('org/fp8', {
      'config.json': config,
      'model.safetensors.index.json': { metadata: { total_size: 2 * (layers + rest) } },
    });
    expect(await weightsOf(modelFiles(), 'org/fp8')).toBe(Math.ceil(layers * (1 + 4 / 128 ** 2) + rest * 2));
  });

  it('keeps revisions apart', async () => {
    putSnapshot('org/model', WHOLE, 'v2');
    expect(await modelFiles().isCached('org/model', 'v2')).toBe(true);
    expect(await modelFiles().isCached('org/model', COMMIT)).toBe(true);
    expect(await modelFiles().isCached('org/model')).toBe(false);
  });

  it('reads the precision in the head of the file, where the configuration says another', async () => {
    const tensor = { dtype: 'F32', shape: [1000], data_offsets: [0, 4000] };
    const header = JSON.stringify({ __metadata__: { format: 'pt' }, weight: tensor });
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    putSnapshot('org/wide', { 'config.json': CONFIG, 'model.safetensors': `${length.toString('latin1')}${header}` });
    const whole = 8 + header.length;
    expect(await weightsOf(modelFiles(), 'org/wide')).toBe(Math.ceil(whole / 2));
    expect(await weightsOf(modelFiles(), 'org/wide', { ...HINTS, dtype: 'float32' })).toBe(whole);
  });

  it('is asked for all its folders, and for what lies in none of them the hub is named', async () => {
    putSnapshot('org/model', WHOLE);
    const files = modelFiles({ cacheFolders: [join(root, 'nowhere'), join(root, 'hub')] });
    expect(await weightsOf(files, 'org/model')).toBe(5_000);
    const size = await files.size('org/absent', HINTS);
    expect(size).toMatchObject({ kind: 'unknown', passing: true });
  });
});

describe('a folder', () => {
  it('is a model of its own [item 116]', async () => {
    for (const [name, content] of Object.entries(WHOLE)) put(`models/mine/${name}`, content);
    const folder = join(root, 'models/mine');
    expect(await weightsOf(modelFiles(), folder)).toBe(5_000);
    expect(await modelFiles().isCached(folder)).toBe(true);
  });

  it('that is not there may be seen by the engine only', async () => {
    expect(await modelFiles().size('/nowhere/model', HINTS)).toMatchObject({
      kind: 'unknown',
      passing: true,
      reason: 'the gateway sees no folder /nowhere/model',
    });
    put('empty/readme', '');
    expect(await modelFiles().size(join(root, 'empty'), HINTS)).toMatchObject({ kind: 'unknown' });
  });

  it('may hold a broken or an endless configuration', async () => {
    put('broken/config.json', '{"model_type":');
    put('endless/config.json', 5 * 2 ** 20);
    put('nested/config.json', `${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    for (const name of ['broken', 'endless', 'nested']) {
      const size = await modelFiles().size(join(root, name), HINTS);
      expect(size.kind).toBe('unknown');
    }
  });
});
