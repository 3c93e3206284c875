/**
 * The package as npm would publish it, installed into an empty folder: the command, its manual page and its completions
 * are there, what its README links to is, `npx vllm-gateway demo` streams an answer, and it needs no package for that
 * which package.json does not name.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { startGateway } from './gateway-process.mjs';

const folder = process.argv[2] ?? '';
mkdirSync(folder, { recursive: true });
const run = (command, args, cwd, input = '') =>
  execFileSync(command, args, { cwd, input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit'] });
const npm = (args, cwd) => run('npm', args, cwd);

const failures = [];
/** @param {string} what @param {boolean} holds @param {string | number} [seen] */
function check(what, holds, seen) {
  console.log(`${holds ? 'ok' : 'NOT SO'}: ${what}${seen === undefined ? '' : ` (${seen})`}`);
  if (!holds) failures.push(what);
}

const [packed] = JSON.parse(npm(['pack', '--json', '--pack-destination', folder], process.cwd()).replace(/^[^[]*/, ''));
console.log(`${packed.filename}: ${packed.entryCount} files, ${Math.round(packed.unpackedSize / 1024)} KiB`);
const paths = packed.files.map(({ path }) => path);
const strangers = paths.filter((path) =>
  /(^|\/)(test|src|node_modules|data|\.\w+)\/|\.test\./.test(path.replace(/^dist\/src\//, '')),
);
check('nothing is in it that only a checkout needs', strangers.length === 0, strangers.join(' ') || paths.length);
writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
npm(['install', '--omit=dev', '--no-audit', '--no-fund', '--loglevel=error', join(folder, packed.filename)], folder);

const installed = join(folder, 'node_modules', 'vllm-gateway');
const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
const command = (...args) => run('npx', ['vllm-gateway', ...args], folder);
check('--version', command('--version').trim() === manifest.version, manifest.version);
const [page = ''] = manifest.man;
const manual = existsSync(join(installed, page)) ? readFileSync(join(installed, page), 'utf8') : '';
check('the manual page is of this version', manual.includes(`"vLLM Gateway ${manifest.version}"`), page);
for (const shell of ['bash', 'zsh', 'fish']) {
  const script = command('completion', shell);
  check(`${shell} completes the command`, script.includes('vllm-gateway') && script.includes('__complete'));
  if (shell === 'bash') run('bash', ['-n'], folder, script);
}
const schema = JSON.parse(readFileSync(join(installed, 'gateway.schema.json'), 'utf8'));
check(
  'the schema for editors is the one that the program prints',
  command('schema') === `${JSON.stringify(schema, null, 2)}\n`,
);
const links = [...readFileSync(join(installed, 'README.md'), 'utf8').matchAll(/\]\(([^)#\s]+\.md)(?:#[^)]*)?\)/g)];
const dead = links
  .map(([, target]) => target)
  .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(installed, target)));
check(
  'the pages that its README names are in it',
  links.length > 0 && dead.length === 0,
  dead.join(' ') || links.length,
);

const gateway = await startGateway('npx', ['vllm-gateway', 'demo'], { cwd: folder, timeoutMs: 30_000 });
try {
  const page = await (await fetch(gateway.url, { headers: { accept: 'text/html' } })).text();
  const script = /src="(\/static\/[^"]+\.js)"/.exec(page)?.[1] ?? '';
  check("the dashboard's script is served", script !== '' && (await fetch(`${gateway.url}${script}`)).ok, script);
  const models = await (await fetch(`${gateway.url}/v1/models`)).json();
  const model = models.data[0].id;
  const ask = (more) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 16, ...more }),
      signal: AbortSignal.timeout(60_000),
    });
  const response = await ask({});
  const answer = await response.json();
  const text = answer.choices?.[0]?.message?.content;
  check(
    'a chat is answered',
    response.status === 200 && answer.model === model && typeof text === 'string' && text !== '',
    text,
  );
  const stream = (await (await ask({ stream: true })).text())
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '));
  const content = stream.slice(0, -1).map((frame) => JSON.parse(frame.slice(6)).choices?.[0]?.delta?.content ?? '');
  check('a chat is streamed', content.join('') !== '' && stream.at(-1) === 'data: [DONE]', `${stream.length} frames`);
} finally {
  await gateway.stop();
}
process.exitCode = failures.length === 0 ? 0 : 1;
