/** The recipes of docs/clients.md that need nothing which is not installed here, run as they stand there. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { readSource, ROOT } from '../support/source-tree.ts';

const page = readSource('docs/clients.md');
const run = promisify(execFile);

/** What stands between a heading and the next, in the language. */
function recipes(heading: string, language: string): readonly string[] {
  const [, section = ''] = page.split(`\n## ${heading}\n`);
  const [own = ''] = section.split('\n## ');
  return [...own.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map(([, code = '']) => code);
}

let gateway: TestGateway;

beforeAll(async () => {
  const flags = ['--enable-auto-tool-choice', '--tool-call-parser', 'llama3_json'];
  gateway = await startTestGateway({
    yaml: gatewayYaml({ 'llama-8b': { repo: 'org/llama', max_model_len: 8192, extra_args: flags, env: QUICK } }),
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

const here = (code: string): string => code.replaceAll('http://127.0.0.1:9000', gateway.url);

async function program(file: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(file, args, { cwd: ROOT, timeout: 30_000 });
  return stdout;
}

describe('docs/clients.md', () => {
  it.each(['OpenAI SDK', 'Anthropic SDK'])('%s in JavaScript', async (heading) => {
    const [code = ''] = recipes(heading, 'js');
    const said = await program(process.execPath, ['--input-type=module', '--eval', here(code)]);
    if (heading === 'OpenAI SDK') {
      expect(said).toMatch(/^llama-8b\n\w+( \w+)+404 model_not_found 404 .*known models: llama-8b\.\n$/);
    } else {
      expect(said).toMatch(/^\w+( \w+)+\{ input_tokens: \d+, output_tokens: \d+ \}\n\d+\n$/);
    }
  });

  it.skipIf(spawnSync('curl', ['--version']).status !== 0)('curl', async () => {
    const [models = '', stream = '', message = '', ...more] = recipes('curl', 'sh').map(here);
    expect(more).toEqual([]);
    const shell = (code: string): Promise<string> => program('sh', ['-c', code.replaceAll('curl ', 'curl -sS ')]);
    expect(JSON.parse(await shell(models))).toMatchObject({ data: [{ id: 'llama-8b', max_model_len: 8192 }] });
    expect(await shell(stream)).toMatch(/^data: .*"usage":\{.*\n\ndata: \[DONE\]\n\n$/s);
    expect(JSON.parse(await shell(message))).toMatchObject({ type: 'message', stop_reason: 'end_turn' });
  });

  it('asks everywhere for a model that the demo has, at the address that it has', () => {
    const asked = [...page.matchAll(/(?:model"?\s*[:=]\s*|_MODEL=|gateway\()["']?(?!nobody)([a-z]+-\d+b)\b/g)].map(
      ([, model]) => model,
    );
    expect(asked.length).toBeGreaterThan(15);
    expect(new Set(asked)).toEqual(new Set(['llama-8b']));
    expect(readSource('examples/demo.yaml')).toContain('\n  llama-8b:\n');
    const addresses = page.match(/http:\/\/127[^\s'"`)]+/g) ?? [];
    expect(new Set(addresses.map((url) => new URL(url).port))).toEqual(new Set(['9000']));
  });
});
