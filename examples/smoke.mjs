#!/usr/bin/env node
/**
 * Tries a running gateway as its clients do: `node examples/smoke.mjs [URL]`, in the image
 * `docker exec GATEWAY node /app/examples/smoke.mjs`. Starts engines. Ends with 0 when nothing failed, else with 1.
 *
 *   GATEWAY_URL      http://127.0.0.1:9000   the gateway
 *   SMOKE_API_KEY                            its key, if it wants one
 *   SMOKE_MODEL      the first of its list   a chat model
 *   SMOKE_MODEL2     the second              another one
 *   SKIP_MODEL2                              set: one model only
 *   COLD_TIMEOUT     1200                    seconds that a first answer may take
 *   WARM_TIMEOUT     120                     seconds that any other may take
 *   CONCURRENCY      5                       requests at a time
 *   MAX_TOKENS       16
 */
import process from 'node:process';

const { env } = process;
const number = (name, fallback) => {
  const value = Number(env[name] || fallback);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`${name}: '${env[name]}' is not a whole number above 0\n`);
  process.exit(2);
};

const url = (process.argv[2] ?? (env.GATEWAY_URL || 'http://127.0.0.1:9000')).replace(/\/+$/, '');
const cold = number('COLD_TIMEOUT', 1200) * 1000;
const warm = number('WARM_TIMEOUT', 120) * 1000;
const concurrency = number('CONCURRENCY', 5);
const maxTokens = number('MAX_TOKENS', 16);
const key = env.SMOKE_API_KEY ? { authorization: `Bearer ${env.SMOKE_API_KEY}` } : {};
let failed = 0;

/** @param {'ok' | 'FAIL' | 'warn' | 'skip'} verdict */
function tell(verdict, name, detail) {
  if (verdict === 'FAIL') failed += 1;
  process.stdout.write(`${verdict.padEnd(4)}  ${name}${detail === '' ? '' : `: ${detail}`}\n`);
}

/** Runs one check; what it throws is why it failed, what it returns is said behind its name. */
async function check(name, run, { hard = true } = {}) {
  const began = performance.now();
  try {
    const detail = await run();
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    tell('ok', name, `${detail === undefined ? '' : `${detail}, `}${seconds}s`);
    return true;
  } catch (error) {
    const cause = error.cause instanceof Error ? ` (${error.cause.message})` : '';
    tell(hard ? 'FAIL' : 'warn', name, `${error.message}${cause}`);
    return false;
  }
}

function insist(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}

async function getJson(path) {
  const response = await fetch(`${url}${path}`, { headers: key, signal: AbortSignal.timeout(warm) });
  const text = await response.text();
  insist(response.ok, `${response.status} ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

async function chat(model, timeout, stream = false) {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...key },
    body: JSON.stringify({
      model,
      stream,
      max_tokens: maxTokens,
      messages: [{ role: 'user', content: 'Say hello in one short sentence.' }],
    }),
    signal: AbortSignal.timeout(timeout),
  });
  const text = await response.text();
  insist(response.ok, `${model}: ${response.status} ${text.slice(0, 300)}`);
  return text;
}

async function answers(model, timeout) {
  const { choices, model: named } = JSON.parse(await chat(model, timeout));
  const { content, reasoning_content: reasoning, reasoning: thought } = choices?.[0]?.message ?? {};
  insist(
    [content, reasoning, thought].some((text) => typeof text === 'string' && text !== ''),
    'an empty answer',
  );
  insist(named === model, `the answer names the model ${named}`);
}

async function streams(model) {
  const text = await chat(model, warm, true);
  const chunks = text.match(/^data: \{/gm)?.length ?? 0;
  insist(chunks > 0, 'no data: line');
  insist(/^data: \[DONE\]\s*$/m.test(text), `no [DONE] after ${chunks} chunks`);
  return `${chunks} chunks`;
}

/** The engine as status shows it, once it has answered. */
async function engineOf(model) {
  const { replicas } = await getJson('/gateway/status');
  const found = Object.values(replicas).find((replica) => replica.model === model && replica.state === 'ready');
  insist(found !== undefined, `status shows no ready engine of ${model}`);
  return found;
}

let models = [];
let status;
const reachable = await check('model list is reachable', async () => {
  models = (await getJson('/v1/models')).data.filter(({ parent }) => parent === undefined).map(({ id }) => id);
});
if (!reachable) process.exit(1);
await check('model list is not empty', () => {
  insist(models.length > 0, 'no model');
  return `${models.length} models`;
});
await check('status is well formed', async () => {
  status = await getJson('/gateway/status');
  for (const field of ['gateway', 'devices', 'models', 'replicas', 'queue_status'])
    insist(field in status, `no ${field}`);
  return `gateway ${status.gateway.version} is ${status.gateway.state}`;
});
await check(
  'GPU memory is known',
  () => {
    insist(status?.total_gpu_vram_mib > 0, 'none');
    return `${status.total_gpu_vram_mib} MiB`;
  },
  { hard: false },
);
for (const [pool, members] of Object.entries(status?.pools ?? {})) tell('ok', `pool ${pool}`, members.join(' '));

const model = env.SMOKE_MODEL || models[0];
const second = env.SKIP_MODEL2 ? undefined : env.SMOKE_MODEL2 || models.find((name) => name !== model);
if (model !== undefined) {
  await check(`${model} answers, cold or not`, () => answers(model, cold));
  await check('its engine is to be seen', async () => (await engineOf(model)).container ?? 'a process', {
    hard: false,
  });
  await check(
    'its engine has GPUs of its own',
    async () => {
      const { devices } = await engineOf(model);
      insist(devices.length > 0, 'it is on no device');
      return devices.join(' ');
    },
    { hard: false },
  );
  await check(`${model} answers warm`, () => answers(model, warm));
  await check(`${model} streams`, () => streams(model));
  await check(`${concurrency} requests at a time`, async () => {
    await Promise.all(Array.from({ length: concurrency }, () => answers(model, warm)));
  });
  if (second === undefined) tell('skip', 'a second model', env.SKIP_MODEL2 ? 'SKIP_MODEL2 is set' : 'there is none');
  else {
    await check(`${second} answers, cold or not`, () => answers(second, cold));
    await check(`${model} answers again`, () => answers(model, cold));
  }
}
process.stdout.write(failed === 0 ? 'nothing failed\n' : `${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
