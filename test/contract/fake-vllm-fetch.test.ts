/** Fetching, from the engine's specification to a process that does it, with an installation that looks like a real one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineOf } from '../../src/engines/registry.ts';
import { FakeEngine, freePort } from '../support/fake-vllm.ts';
import { fakeVenv } from '../support/fake-venv.ts';
import { modelConfig } from '../support/model-config.ts';

const engine = engineOf('vllm');
let folder = '';
let vllm = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgw-venv-'));
  vllm = fakeVenv(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly lines: readonly string[];
}

async function run(knobs: Readonly<Record<string, string>>, until?: string): Promise<Ended> {
  const env = Object.fromEntries(Object.entries(knobs).map(([name, value]) => [`FAKE_VLLM_${name}`, value]));
  const spec = engine.fetchSpec({ model: modelConfig({ env }), command: [vllm], image: null });
  const [command = '', ...args] = spec?.argv ?? [];
  const child = spawn(command, args, { env: { PATH: process.env['PATH'] ?? '', ...spec?.env } });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    text += data;
    if (until !== undefined && text.includes(until)) child.kill('SIGTERM');
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, lines: text.trim().split('\n') };
}

describe('a fetch by the Python of an installation', () => {
  it('ends well, saying how far it is', async () => {
    const { code, lines } = await run({});
    expect(code).toBe(0);
    const fractions = lines.map((line) => engine.readProgress(line)?.fraction);
    expect([fractions[0], fractions.at(-1)]).toEqual([0, 1]);
    expect(fractions).toEqual(fractions.toSorted((one, other) => (one ?? 0) - (other ?? 0)));
  });

  it.each([
    ['fail', 'GatedRepoError: 401'],
    ['fail:disk', 'No space left on device'],
    ['fail:network', 'ConnectError'],
    ['fail:gone', 'RepositoryNotFoundError'],
  ])('fails as scripted: %s', async (fault, words) => {
    const { code, lines } = await run({ FETCH_FAULT: fault });
    expect(code).toBe(1);
    expect(lines.at(-1)).toContain(words);
    expect(engine.classifyFailure(lines, { code: 1, signal: null }).cause).toBe('model_files');
  });

  it('hangs in its middle as scripted, and ends when it is told to', async () => {
    const { code, lines } = await run({ FETCH_FAULT: 'hang' }, '45%');
    expect(code).toBe(143);
    expect(engine.readProgress(lines.at(-1) ?? '')?.fraction).toBe(0.45);
  });

  it('spares the engine its own download, which stands between its milestones', async () => {
    const knobs = { CACHE_DIR: join(folder, 'cache'), DOWNLOAD_MS: '40', START_MS: '50' };
    const serve = async (): Promise<string> => {
      const env = Object.fromEntries(Object.entries(knobs).map(([name, value]) => [`FAKE_VLLM_${name}`, value]));
      const port = await freePort();
      const child = spawn(vllm, ['serve', 'meta-llama/Llama-3.1-8B-Instruct', '--port', String(port)], {
        detached: true,
        env: { PATH: process.env['PATH'] ?? '', ...env },
      });
      await using process_ = new FakeEngine(port, child);
      await process_.ready();
      return process_.output;
    };
    const cold = await serve();
    const milestones = cold.split(/[\r\n]/).flatMap((line) => {
      const progress = engine.readProgress(line);
      return progress?.milestone ?? (progress?.phase === 'download' ? 'download' : []);
    });
    expect([...new Set(milestones)]).toEqual(['loading', 'download', 'profiled']);
    expect(cold).toContain('Time spent downloading weights');
    rmSync(knobs.CACHE_DIR, { recursive: true });
    await run(knobs);
    expect(await serve()).not.toContain('Time spent downloading weights');
  });
});
