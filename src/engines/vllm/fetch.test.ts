import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelConfig } from '../../../test/support/model-config.ts';
import type { ModelConfig } from '../../config/config.ts';
import type { FetchSpec } from '../../core/launch.ts';
import { engineOf } from '../registry.ts';
import { readProgress } from './progress.ts';

const engine = engineOf('vllm');
const IMAGE = 'vllm/vllm-openai:v0.16.0';

function fetchOf(
  more: Partial<ModelConfig> = {},
  command: readonly string[] = ['vllm'],
  image: string | null = null,
): FetchSpec | null {
  return engine.fetchSpec({ model: modelConfig(more), command, image, hubToken: 'hf_secret' });
}

const wanted = (spec: FetchSpec | null): unknown => JSON.parse(spec?.argv?.at(-1) ?? 'null');

describe('what fetches the files of a model', () => {
  it('runs in a container by its Python, with the token in the environment only [item 134]', () => {
    const spec = fetchOf(
      { driver: 'docker', volumes: ['/srv:/srv'], env: { HF_ENDPOINT: 'http://hub', P: '${port}' } },
      [],
      IMAGE,
    );
    expect(spec?.argv?.slice(0, 2)).toEqual(['python3', '-c']);
    expect(spec?.argv).toHaveLength(4);
    expect(wanted(spec)).toEqual({ repo: 'meta-llama/Llama-3.1-8B-Instruct' });
    expect(spec?.container).toEqual({ image: IMAGE, volumes: ['/srv:/srv'], shmSize: null });
    expect(spec?.env).toEqual({
      HF_TOKEN: 'hf_secret',
      HUGGING_FACE_HUB_TOKEN: 'hf_secret',
      HF_ENDPOINT: 'http://hub',
    });
    expect(JSON.stringify(spec?.argv)).not.toContain('hf_secret');
  });

  it('asks for what the arguments of the engine ask for', () => {
    const extraArgs = ['--revision=v2', '--download_dir', '/cache', '--load-f', 'mistral'];
    expect(wanted(fetchOf({ extraArgs }))).toEqual({
      repo: 'meta-llama/Llama-3.1-8B-Instruct',
      revision: 'v2',
      folder: '/cache',
      format: 'mistral',
    });
    expect(wanted(fetchOf({ repo: 'a/b-GGUF:Q4_K_M' }))).toEqual({ repo: 'a/b-GGUF', quant: 'Q4_K_M' });
    expect(wanted(fetchOf({ repo: 'a/b-GGUF/x-Q8_0.gguf' }))).toEqual({
      repo: 'a/b-GGUF',
      file: 'x-Q8_0.gguf',
      quant: 'Q8_0',
    });
    const nasty = `a/b"; import os #$(id)'`;
    expect(wanted(fetchOf({ repo: nasty }))).toEqual({ repo: nasty });
  });

  it('is nothing but the image where the hub has nothing to give', () => {
    for (const model of [
      { repo: '/models/x' },
      { repo: 's3://b/x' },
      { env: { HF_HUB_OFFLINE: '1' } },
      { env: { VLLM_USE_MODELSCOPE: 'True' } },
    ]) {
      expect(fetchOf(model, [], IMAGE)).toMatchObject({ argv: null, container: { image: IMAGE } });
      expect(fetchOf(model)).toBeNull();
    }
  });

  it('is left to an engine whose Python nobody knows, and to the simulated one', () => {
    expect(fetchOf({}, ['simulated-vllm'])).toBeNull();
    expect(fetchOf({}, ['node', '/x/dist/tools/fake-vllm/main.js'])).toBeNull();
    expect(fetchOf({}, ['uv', 'run', 'vllm'])).toBeNull();
    expect(fetchOf({ command: ['/opt/${repo}/vllm'] })).toBeNull();
    expect(fetchOf({ driver: 'external', url: 'http://x' })).toBeNull();
    expect(engineOf('openai-compatible').fetchSpec({ model: modelConfig(), command: ['x'], image: null })).toBeNull();
  });

  it('uses the Python that a command names, else looks for that of the script', () => {
    expect(fetchOf({}, ['/venv/bin/python3', '-m', 'vllm'])?.argv?.slice(0, 2)).toEqual(['/venv/bin/python3', '-c']);
    expect(fetchOf({}, ['/venv/bin/vllm'])?.argv).toMatchObject(['/bin/sh', '-c', {}, 'sh', '/venv/bin/vllm', {}, {}]);
  });
});

describe('the search for the Python of a command', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vgw-fetch-'));
    const write = (name: string, text: string): void => {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), text);
      chmodSync(join(folder, name), 0o755);
    };
    write('venv/bin/python3', '#!/bin/sh\nfor word; do last=$word; done; echo "python of the venv: $last"\n');
    write('venv/bin/vllm', `#! ${folder}/venv/bin/python3\nimport vllm\n`);
    write('tool/bin/python3', '#!/bin/sh\necho "python beside it"\n');
    write('tool/bin/vllm', `#!/bin/sh\n'''exec' /very/long/path\n`);
    write('other/bin/vllm', '#!/bin/sh\necho not python\n');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const run = (program: string, path = ''): string => {
    const [command = '', ...args] = fetchOf({ repo: 'a/b \'c\' "d" $e' }, [program])?.argv ?? [];
    const ended = spawnSync(command, args, { encoding: 'utf8', env: { PATH: `${path}:/usr/bin:/bin` } });
    expect(ended.status).toBe(0);
    return ended.stdout.trim();
  };

  it('follows its first line, by path and by name, and loses nothing of the argument', () => {
    const said = `python of the venv: ${JSON.stringify({ repo: 'a/b \'c\' "d" $e' })}`;
    expect(run(join(folder, 'venv/bin/vllm'))).toBe(said);
    expect(run('vllm', join(folder, 'venv/bin'))).toBe(said);
  });

  it('takes the one beside it when the first line names none', () => {
    expect(run(join(folder, 'tool/bin/vllm'))).toBe('python beside it');
  });

  it('leaves the fetching to what is no Python program, and to what is not there', () => {
    expect(run(join(folder, 'other/bin/vllm'))).toContain('Nothing to fetch');
    expect(run('no-such-vllm-anywhere')).toContain('Nothing to fetch');
  });
});

const python = spawnSync('python3', ['--version']).status === 0;

/** The program under a real Python, with a pretended huggingface_hub. Skipped only where there is no Python at all. */
describe.skipIf(!python)('the program that fetches', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vgw-program-'));
    mkdirSync(join(folder, 'modules/huggingface_hub'), { recursive: true });
    writeFileSync(join(folder, 'modules/huggingface_hub/__init__.py'), PRETENDED_HUB);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  interface Hub {
    readonly files?: Readonly<Record<string, number>>;
    readonly index?: readonly string[];
    readonly fault?: string;
    /** The cache holds a revision of it. */
    readonly cached?: boolean;
  }

  async function run(
    hub: Hub,
    more: Partial<ModelConfig> = {},
  ): Promise<{ code: number | null; lines: string[]; fetched: string[] }> {
    const [command = '', ...args] = fetchOf({ ...more }, [], IMAGE)?.argv ?? [];
    const record = join(folder, 'fetched.json');
    writeFileSync(record, '[]');
    const cache = mkdtempSync(join(folder, 'cache-'));
    if (hub.cached === true) {
      const root = join(cache, 'models--meta-llama--Llama-3.1-8B-Instruct');
      for (const inside of ['refs', 'snapshots/abc']) mkdirSync(join(root, inside), { recursive: true });
      writeFileSync(join(root, 'refs/main'), 'abc\n');
      writeFileSync(join(root, 'snapshots/abc/config.json'), '{}');
    }
    const child = spawn(command, args, {
      cwd: folder,
      env: {
        PATH: process.env['PATH'] ?? '',
        PYTHONPATH: join(folder, 'modules'),
        HUB: JSON.stringify({ files: {}, index: [], ...hub }),
        RECORD: record,
        HF_HUB_CACHE: cache,
      },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (data: string) => (text += data));
    const code = await new Promise<number | null>((done) => child.once('close', done));
    const fetched = (JSON.parse(readFileSync(record, 'utf8')) as string[]).toSorted();
    return { code, lines: text.trim().split('\n'), fetched };
  }

  const small = {
    'config.json': 10,
    'tokenizer.json': 10,
    'README.md': 5,
    'original/params.json': 1,
    'onnx/config.json': 1,
  };

  it('takes one set of weights, without pickles or copies, and the small files [items 116, 133]', async () => {
    const files = {
      ...small,
      'model-1.safetensors': 100,
      'model-2.safetensors': 100,
      'model.safetensors.index.json': 3,
    };
    const copies = {
      'consolidated.safetensors': 200,
      'pytorch_model.bin': 200,
      'original/x.pth': 200,
      'fp32/model-1.safetensors': 400,
      'stray.safetensors': 7,
    };
    const result = await run({ files: { ...files, ...copies }, index: ['model-1.safetensors', 'model-2.safetensors'] });
    expect(result.fetched).toEqual([
      'config.json',
      'model-1.safetensors',
      'model-2.safetensors',
      'model.safetensors.index.json',
      'tokenizer.json',
    ]);
    expect(result.code).toBe(0);
  });

  it('says how far it is in words that the progress of a start is read from', async () => {
    const { lines } = await run({ files: { 'config.json': 10, 'model.safetensors': 990 } });
    expect(readProgress(lines[0] ?? '')).toMatchObject({ phase: 'download', fraction: 0 });
    expect(readProgress(lines.at(-1) ?? '')).toMatchObject({ phase: 'download', fraction: 1 });
  });

  it.each<[string, Readonly<Record<string, number>>, Partial<ModelConfig>, readonly string[]]>([
    [
      'a single file beside a consolidated copy',
      { 'model.safetensors': 1, 'consolidated.00.safetensors': 1 },
      {},
      ['model.safetensors'],
    ],
    ['only a consolidated set', { 'consolidated.safetensors': 1 }, {}, ['consolidated.safetensors']],
    [
      'the consolidated set when asked for',
      { 'model.safetensors': 1, 'consolidated.safetensors': 1 },
      { extraArgs: ['--load-format', 'mistral'] },
      ['consolidated.safetensors'],
    ],
    [
      'pickles where there is nothing else',
      { 'pytorch_model.bin': 1, 'training_args.bin': 1 },
      {},
      ['pytorch_model.bin'],
    ],
    ['no weights for dummies', { 'model.safetensors': 1 }, { extraArgs: ['--load-format=dummy'] }, []],
    [
      'all parts of exactly the quantisation that was asked for, and no projector [item 131]',
      {
        'x-Q4_K_M-00001-of-00002.gguf': 1,
        'x-Q4_K_M-00002-of-00002.gguf': 1,
        'x-Q4_K_S.gguf': 1,
        'x-IQ4_K_M.gguf': 1,
        'mmproj-Q4_K_M.gguf': 1,
      },
      { repo: 'a/b-GGUF:q4_k_m' },
      ['x-Q4_K_M-00001-of-00002.gguf', 'x-Q4_K_M-00002-of-00002.gguf'],
    ],
    [
      'the file that was named, with its other parts',
      { 'q/x-Q8_0-00001-of-00002.gguf': 1, 'q/x-Q8_0-00002-of-00002.gguf': 1, 'x-Q8_0.gguf': 1 },
      { repo: 'a/b-GGUF/q/x-Q8_0-00001-of-00002.gguf' },
      ['q/x-Q8_0-00001-of-00002.gguf', 'q/x-Q8_0-00002-of-00002.gguf'],
    ],
  ])('takes %s', async (_, files, model, expected) => {
    expect((await run({ files }, model)).fetched).toEqual(expected);
  });

  it('fails with the reason in its last line', async () => {
    const gated = await run({ fault: 'gated' });
    expect(gated.code).toBe(1);
    expect(gated.lines.at(-1)).toBe('GatedRepoError: 401 Client Error. Access is restricted');
    const full = await run({ files: { 'model.safetensors': 1e18 } });
    expect(full.code).toBe(1);
    expect(full.lines.at(-1)).toContain('No space left on device');
    const absent = await run({ files: { 'x-Q8_0.gguf': 1 } }, { repo: 'a/b-GGUF:Q4_0' });
    expect(absent.lines.at(-1)).toBe('the repository a/b-GGUF has no GGUF file of Q4_0');
    expect(engine.classifyFailure(gated.lines, { code: 1, signal: null }).cause).toBe('model_files');
    expect(engine.classifyFailure(full.lines, { code: 1, signal: null }).cause).toBe('model_files');
  });

  it('is content with what the cache has when the hub cannot be reached', async () => {
    expect(await run({ fault: 'unreachable', cached: true })).toMatchObject({ code: 0 });
    const empty = await run({ fault: 'unreachable' });
    expect(empty.code).toBe(1);
    expect(empty.lines.at(-1)).toContain('the cache has nothing of');
  });

  it('does nothing for a folder that is there', async () => {
    mkdirSync(join(folder, 'local/model'), { recursive: true });
    const result = await run({ fault: 'gated' }, { repo: 'local/model' });
    expect(result.code).toBe(0);
    expect(result.lines[0]).toContain('Nothing to fetch');
  });
});

const PRETENDED_HUB = `
import fnmatch, json, os, types
hub = json.loads(os.environ["HUB"])
constants = types.SimpleNamespace(HF_HUB_CACHE=os.environ["HF_HUB_CACHE"])


class GatedRepoError(Exception):
    pass


class ConnectError(Exception):
    pass


class HfApi:
    def model_info(self, repo, revision=None, files_metadata=False):
        if hub.get("fault") == "gated":
            raise GatedRepoError("401 Client Error.\\n  Access is restricted")
        if hub.get("fault") == "unreachable":
            raise RuntimeError("outer") from ConnectError("nobody there")
        files = [types.SimpleNamespace(rfilename=name, size=size) for name, size in hub["files"].items()]
        return types.SimpleNamespace(siblings=files, sha="0" * 40)


def hf_hub_download(repo, name, revision=None, cache_dir=None):
    path = os.path.join(constants.HF_HUB_CACHE, "index.json")
    with open(path, "w") as file:
        json.dump({"weight_map": {str(at): name for at, name in enumerate(hub["index"])}}, file)
    return path


def snapshot_download(repo, revision=None, cache_dir=None, allow_patterns=None):
    names = [name for name in hub["files"] if any(fnmatch.fnmatch(name, one) for one in allow_patterns)]
    with open(os.environ["RECORD"], "w") as file:
        json.dump(names, file)
`;
