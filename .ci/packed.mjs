/** The package as npm would publish it, installed into an empty folder: `npx vllm-gateway demo` answers a chat. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { startGateway } from './gateway-process.mjs';

const folder = process.argv[2] ?? '';
mkdirSync(folder, { recursive: true });
const npm = (args, cwd) => execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

const [packed] = JSON.parse(npm(['pack', '--json', '--pack-destination', folder], process.cwd()).replace(/^[^[]*/, ''));
console.log(`${packed.filename}: ${packed.entryCount} files, ${Math.round(packed.unpackedSize / 1024)} KiB`);
writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
npm(['install', '--omit=dev', '--no-audit', '--no-fund', '--loglevel=error', join(folder, packed.filename)], folder);

const gateway = await startGateway('npx', ['vllm-gateway', 'demo'], { cwd: folder, timeoutMs: 30_000 });
const page = await (await fetch(gateway.url, { headers: { accept: 'text/html' } })).text();
const script = /src="(\/static\/[^"]+\.js)"/.exec(page)?.[1];
const served = script === undefined ? 404 : (await fetch(`${gateway.url}${script}`)).status;
console.log(`the dashboard's script is ${script ?? 'missing'}: ${served}`);
const models = await (await fetch(`${gateway.url}/v1/models`)).json();
const model = models.data[0].id;
const response = await fetch(`${gateway.url}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 16 }),
  signal: AbortSignal.timeout(60_000),
});
const answer = await response.json();
await gateway.stop();
const text = answer.choices?.[0]?.message?.content;
console.log(`${model} answered ${response.status}: ${JSON.stringify(text ?? answer)}`);
process.exitCode =
  served === 200 && response.status === 200 && typeof text === 'string' && text !== '' && answer.model === model
    ? 0
    : 1;
