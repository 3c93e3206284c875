import { describe, expect, it } from 'vitest';
import { commandAnswer, errorAnswer, healthAnswer, readyAnswer, requestAnswer } from './contract.ts';
import { adminBench, ADMIN_BENCH_YAML } from '../../test/support/admin-bench.ts';
import { requestRecord } from '../../test/support/request-record.ts';
import { samplesOf } from '../../test/support/prometheus-text.ts';
import type { GatewayError } from '../errors.ts';

const KEYED = `${ADMIN_BENCH_YAML}
auth:
  keys:
    - { id: app, key: the-key-of-the-app }
    - { id: other, key: the-key-of-another-app }
    - { id: scraper, key: the-key-of-the-scraper, roles: [metrics] }
    - { id: ops, key: the-key-of-operations, roles: [admin] }
`;
const bearer = (key: string): RequestInit => ({ headers: { authorization: `Bearer ${key}` } });
const as = { app: 'the-key-of-the-app', scraper: 'the-key-of-the-scraper', ops: 'the-key-of-operations' } as const;
const REMOTE = { remoteAddress: '10.0.0.7', loopbackListener: false } as const;

describe('health [item 137]', () => {
  it('/healthz says that the process lives, whatever else', async () => {
    const bench = await adminBench();
    bench.control.ready = false;
    const response = await bench.ask('/healthz');
    expect(response.status).toBe(200);
    expect(healthAnswer.parse(await response.json())).toEqual({ status: 'ok' });
  });

  it('/readyz answers 503 with the reasons when no work can be accepted, and tells reasons that do not forbid it', async () => {
    const bench = await adminBench();
    const ready = await bench.ask('/readyz');
    expect(ready.status).toBe(200);
    expect(readyAnswer.parse(await ready.json())).toEqual({ status: 'ready', reasons: [] });
    bench.control.reasons = ['the GPU probe failed: nvidia-smi not found'];
    expect((await bench.ask('/readyz')).status).toBe(200);
    bench.control.ready = false;
    const response = await bench.ask('/readyz');
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(readyAnswer.parse(await response.json())).toEqual({
      status: 'not_ready',
      reasons: ['the GPU probe failed: nvidia-smi not found'],
    });
  });

  it('needs no key', async () => {
    const bench = await adminBench(KEYED);
    for (const path of ['/healthz', '/readyz', '/', '/static/page.js', '/static/page.css']) {
      expect((await bench.ask(path, {}, REMOTE)).status, path).toBe(200);
    }
  });
});

describe('roles on every route [item 141]', () => {
  const ROUTES: readonly (readonly [string, string, readonly (keyof typeof as)[]])[] = [
    ['GET', '/metrics', ['scraper', 'ops']],
    ['GET', '/gateway/status', ['scraper', 'ops']],
    ['GET', '/gateway/events', ['scraper', 'ops']],
    ['GET', '/gateway/requests/r-1', ['app', 'ops']],
    ['GET', '/gateway/config', ['ops']],
    ['GET', '/gateway/replicas/llama-1/logs', ['ops']],
    ['POST', '/gateway/models/llama/load', ['ops']],
    ['POST', '/gateway/models/llama/unload', ['ops']],
    ['POST', '/gateway/models/llama/pin', ['ops']],
    ['POST', '/gateway/models/llama/unpin', ['ops']],
  ];

  it.each(ROUTES)('%s %s', async (method, path, allowed) => {
    const bench = await adminBench(KEYED);
    bench.telemetry.requestEnded(requestRecord({ id: 'r-1', keyId: 'app' }));
    bench.control.lines = async function* () {};
    const nobody = await bench.ask(path, { method });
    expect(nobody.status).toBe(401);
    expect(nobody.headers.get('www-authenticate')).toBe('Bearer');
    expect(errorAnswer.parse(await nobody.json()).error.code).toBe('invalid_api_key');
    for (const name of Object.keys(as) as (keyof typeof as)[]) {
      const response = await bench.ask(path, { method, ...bearer(as[name]) });
      if (allowed.includes(name)) expect(response.ok, name).toBe(true);
      else expect(response.status, name).toBe(403);
      await response.body?.cancel();
    }
  });

  it('hold without keys too: reading is open, control is for programs on this machine', async () => {
    const bench = await adminBench();
    bench.control.lines = async function* () {};
    for (const [method, path, allowed] of ROUTES) {
      const open = allowed.includes('scraper') || allowed.includes('app');
      const remote = await bench.ask(path, { method }, REMOTE);
      if (open) expect(remote.status, path).not.toBe(403);
      else expect(remote.status, path).toBe(403);
      const local = await bench.ask(path, { method });
      expect(local.status, path).not.toBe(403);
      const foreign = await bench.ask(path, { method, headers: { host: 'evil.example' } });
      expect(foreign.status, path).toBe(403);
      for (const response of [remote, local, foreign]) await response.body?.cancel();
    }
    const crossSite = await bench.ask('/gateway/models/llama/load', {
      method: 'POST',
      headers: { origin: 'https://evil.example' },
    });
    expect(crossSite.status).toBe(403);
  });

  it('guard control, and nothing else, with GATEWAY_ADMIN_KEY alone', async () => {
    const bench = await adminBench(undefined, { GATEWAY_ADMIN_KEY: 'the-administrators-key', GATEWAY_AUTH: 'none' });
    expect((await bench.ask('/gateway/status', {}, REMOTE)).status).toBe(200);
    expect((await bench.ask('/gateway/config', {}, REMOTE)).status).toBe(401);
    expect((await bench.ask('/gateway/config', bearer('the-administrators-key'), REMOTE)).status).toBe(200);
  });
});

describe('what does not exist', () => {
  it.each(['/gateway', '/gateway/', '/gateway/models/llama', '/gateway/replicas//logs', '/static/x.js'])(
    '%s is route_not_found in OpenAI shape [S13]',
    async (path) => {
      const response = await (await adminBench()).ask(path);
      expect(response.status).toBe(404);
      expect(errorAnswer.parse(await response.json()).error).toMatchObject({
        code: 'route_not_found',
        type: 'not_found_error',
        param: null,
      });
    },
  );

  it.each([
    ['POST', '/gateway/status', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/', 'GET, HEAD, OPTIONS'],
    ['GET', '/gateway/models/llama/load', 'POST, OPTIONS'],
    ['PUT', '/gateway/models/a/b/unpin', 'POST, OPTIONS'],
  ])('%s %s is method_not_allowed, and says what is [S13]', async (method, path, allow) => {
    const response = await (await adminBench()).ask(path, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe(allow);
    expect(errorAnswer.parse(await response.json()).error.code).toBe('method_not_allowed');
  });

  it('a path with a broken encoding does not exist', async () => {
    expect((await (await adminBench()).ask('/gateway/models/%E0%A4%A/load', { method: 'POST' })).status).toBe(404);
  });
});

describe('commands', () => {
  const NAMES: readonly (readonly [string, string])[] = [
    ['llama', 'llama'],
    ['gpt-4o-mini', 'llama'],
    ['Qwen/Qwen2.5-7B', 'Qwen/Qwen2.5-7B'],
    ['Qwen%2FQwen2.5-7B', 'Qwen/Qwen2.5-7B'],
    ['Qwen%2fQwen2.5-7B', 'Qwen/Qwen2.5-7B'],
  ];
  it.each(NAMES)('name a model as %s', async (written, model) => {
    const bench = await adminBench();
    for (const command of ['load', 'unload', 'pin', 'unpin'] as const) {
      const response = await bench.ask(`/gateway/models/${written}/${command}`, { method: 'POST' });
      expect(response.status).toBe(202);
      const answer = commandAnswer.parse(await response.json());
      expect(answer).toEqual({ model, command, state: 'starting', done: false });
      expect(bench.control.asked.at(-1)).toMatchObject({ command, model, wait: false });
    }
  });

  it('answer at the end with ?wait=true', async () => {
    const bench = await adminBench();
    bench.control.result = ({ wait }) => ({ ok: true, state: wait ? 'ready' : 'starting' });
    const response = await bench.ask('/gateway/models/llama/load?wait=true', { method: 'POST' });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ model: 'llama', command: 'load', state: 'ready', done: true });
  });

  it('stop waiting when the caller leaves, and when the control plane closes', async () => {
    for (const end of ['caller', 'close'] as const) {
      const bench = await adminBench();
      bench.control.result = ({ signal }) =>
        new Promise((resolve) => signal.addEventListener('abort', () => resolve({ ok: true, state: 'starting' })));
      const leaving = new AbortController();
      const answer = bench.ask('/gateway/models/llama/load?wait=1', { method: 'POST', signal: leaving.signal });
      await expect.poll(() => bench.control.asked.length).toBe(1);
      if (end === 'caller') leaving.abort();
      else bench.admin.close();
      expect((await answer).status).toBe(202);
    }
  });

  it('on an unknown name say which there are [S13]', async () => {
    const response = await (await adminBench()).ask('/gateway/models/lama/load', { method: 'POST' });
    expect(response.status).toBe(404);
    const { error } = errorAnswer.parse(await response.json());
    expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
    expect(error.message).toContain('llama, Qwen/Qwen2.5-7B');
  });

  it('pass the reason on when they fail', async () => {
    const bench = await adminBench();
    const error: GatewayError = {
      code: 'model_start_failed',
      message: 'out of memory',
      cause: 'out_of_memory',
      shouldRetry: false,
    };
    bench.control.result = () => ({ ok: false, error });
    const response = await bench.ask('/gateway/models/llama/load?wait=true', { method: 'POST' });
    expect(response.status).toBe(503);
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect(await response.json()).toEqual({
      error: {
        message: 'out of memory',
        type: 'service_unavailable_error',
        param: null,
        code: 'model_start_failed',
        cause: 'out_of_memory',
      },
    });
  });

  it('are logged with who asked', async () => {
    const bench = await adminBench(KEYED);
    await bench.ask('/gateway/models/llama/unload', { method: 'POST', ...bearer(as.ops) });
    const line = bench.logLines.find((text) => text.includes('control command'));
    expect(JSON.parse(line ?? '{}')).toMatchObject({ key: 'ops', path: '/gateway/models/llama/unload', status: 202 });
  });
});

describe('finished requests', () => {
  it('are shown to the key that sent them, and to administrators', async () => {
    const bench = await adminBench(KEYED);
    bench.telemetry.requestEnded(requestRecord({ id: 'a/b-1', keyId: 'app', code: 'queue_full', outcome: 'rejected' }));
    const own = await bench.ask('/gateway/requests/a%2Fb-1', bearer(as.app));
    const answer = await own.json();
    expect(requestAnswer.parse(answer)).toEqual(answer);
    expect(answer).toMatchObject({ id: 'a/b-1', key_id: 'app', code: 'queue_full', queue_ms: 12 });
    expect((await bench.ask('/gateway/requests/a/b-1', bearer(as.ops))).status).toBe(200);
    expect((await bench.ask('/gateway/requests/a%2Fb-1', bearer('the-key-of-another-app'))).status).toBe(404);
    expect((await bench.ask('/gateway/requests/none', bearer(as.ops))).status).toBe(404);
  });
});

describe('every answer', () => {
  it("carries a request id: the caller's own when it is usable", async () => {
    const bench = await adminBench();
    expect((await bench.ask('/healthz', { headers: { 'x-request-id': 'mine-1' } })).headers.get('x-request-id')).toBe(
      'mine-1',
    );
    for (const id of ['a b', 'x'.repeat(129), '<script>']) {
      const response = await bench.ask('/healthz', { headers: { 'x-request-id': id } });
      expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
    }
    expect((await bench.ask('/nowhere')).headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
  });

  it('is also given to HEAD, without the body and without anything left open', async () => {
    const bench = await adminBench();
    bench.control.lines = async function* () {};
    for (const path of [
      '/',
      '/healthz',
      '/gateway/status',
      '/metrics',
      '/gateway/events',
      '/gateway/replicas/x/logs',
    ]) {
      const response = await bench.ask(path, { method: 'HEAD' });
      expect(response.status, path).toBe(200);
      expect(await response.text()).toBe('');
    }
    expect(bench.control.listeners.size).toBe(0);
  });

  it('that fails inside is internal_error without details; the log has them', async () => {
    const bench = await adminBench();
    bench.control.snapshot = () => {
      throw new Error('secret detail');
    };
    const response = await bench.ask('/gateway/status');
    expect(response.status).toBe(500);
    const text = await response.text();
    expect(text).toContain('internal_error');
    expect(text).not.toContain('secret detail');
    expect(bench.logLines.join('')).toContain('secret detail');
  });
});

const BROWSER = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

describe('browsers', () => {
  it('see a plain page without data and without inline code where the dashboard was not built', async () => {
    const response = await (await adminBench(KEYED)).ask('/', { headers: BROWSER });
    const page = await response.text();
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page).toContain('vLLM Gateway');
    expect(page).toContain('0.1.0');
    expect(page).not.toContain('llama');
    expect(page).not.toMatch(/<script>|<style|\son\w+=|style=/);
  });

  it('are told which origins may ask, when some are configured', async () => {
    const yaml = ADMIN_BENCH_YAML.replace('server: {', 'server: { cors_origins: ["https://app.example"],');
    const bench = await adminBench(yaml);
    const preflight = await bench.ask('/gateway/models/llama/load', {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(preflight.headers.get('access-control-allow-methods')).toBe('POST, OPTIONS');
    const allowed = await bench.ask('/gateway/status', { headers: { origin: 'https://app.example' } });
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    const foreign = await bench.ask('/gateway/status', { headers: { origin: 'https://evil.example' } });
    expect(foreign.headers.get('access-control-allow-origin')).toBeNull();
    expect(foreign.headers.get('vary')).toBe('origin');
  });

  it('get no CORS header when none are', async () => {
    const response = await (
      await adminBench()
    ).ask('/gateway/status', { method: 'OPTIONS', headers: { origin: 'https://a.example' } });
    expect(response.status).toBe(204);
    expect(response.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('GET /metrics and /gateway/config', () => {
  it('metrics are in Prometheus text', async () => {
    const response = await (await adminBench()).ask('/metrics');
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(samplesOf(await response.text()).length).toBeGreaterThan(5);
  });

  it('the configuration is shown without its secrets', async () => {
    const bench = await adminBench(KEYED);
    const text = await (await bench.ask('/gateway/config', bearer(as.ops))).text();
    expect(JSON.parse(text)).toHaveProperty('limits');
    expect(JSON.parse(text)).toHaveProperty('models');
    for (const key of Object.values(as)) expect(text).not.toContain(key);
  });
});
