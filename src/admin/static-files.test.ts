import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { adminBench, type AdminBench } from '../../test/support/admin-bench.ts';
import { readStaticFiles, type StaticSource } from './static-files.ts';

const FILES: Readonly<Record<string, string>> = {
  '/web/index.html': '<!doctype html><script type="module" src="/static/index-AbC123_-.js"></script>',
  '/web/static/index-AbC123_-.js': 'export {};',
  '/web/static/index-Zyx98765.css': 'body {}',
  '/web/static/mark-Qwertyui.svg': '<svg/>',
  '/web/static/plain.js': 'no hash in its name',
  '/web/static/secret-Qwertyui.txt': 'no type',
  '/web/.stamp': 'not for anyone',
};

const source: StaticSource = {
  list: async (folder) =>
    Object.keys(FILES).flatMap((path) => (path.startsWith(`${folder}/`) ? [path.slice(folder.length + 1)] : [])),
  readText: async (path) => FILES[path],
  sha256: (text) => createHash('sha256').update(text).digest('hex'),
};

const BROWSER = { accept: 'text/html,*/*;q=0.8' };
const SCRIPT = '/static/index-AbC123_-.js';
let bench: AdminBench;

beforeAll(async () => {
  bench = await adminBench(undefined, {}, await readStaticFiles(source, '/web'));
});

describe('the built dashboard', () => {
  it('is a page for browsers, without a key and without inline code being allowed', async () => {
    const response = await bench.ask(
      '/',
      { headers: BROWSER },
      { remoteAddress: '192.0.2.7', loopbackListener: false },
    );
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    expect(response.headers.get('vary')).toBe('accept');
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'self';/);
    expect(policy).not.toMatch(/unsafe|https?:|data:/);
    expect(await response.text()).toBe(FILES['/web/index.html']);
  });

  it('is a line of text for programs', async () => {
    const response = await bench.ask('/');
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(await response.text()).toMatch(/^vLLM Gateway 0\.1\.0\n/);
  });

  it('names its files by their content, so they may be kept for ever', async () => {
    const types = {
      [SCRIPT]: 'text/javascript',
      '/static/index-Zyx98765.css': 'text/css',
      '/static/mark-Qwertyui.svg': 'image/svg+xml',
    };
    for (const [path, type] of Object.entries(types)) {
      const response = await bench.ask(path);
      expect(response.status, path).toBe(200);
      expect(response.headers.get('content-type')).toBe(`${type}; charset=utf-8`);
      expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(await response.text()).toBe(FILES[`/web${path}`]);
    }
  });

  it('is not sent twice to whoever has it', async () => {
    const etag = (await bench.ask('/', { headers: BROWSER })).headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[0-9a-f]{20}"$/);
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const response = await bench.ask('/', { headers: { ...BROWSER, 'if-none-match': known } });
      expect(response.status, known).toBe(304);
      expect(await response.text()).toBe('');
      expect(response.headers.get('etag')).toBe(etag);
    }
    expect((await bench.ask('/', { headers: { ...BROWSER, 'if-none-match': '"other"' } })).status).toBe(200);
  });

  it.each([
    '/static/',
    '/static/plain.js',
    '/static/secret-Qwertyui.txt',
    '/static/../.stamp',
    '/static/%2e%2e/index.html',
    '/static/..%2f.stamp',
    '/static/%2fetc%2fpasswd',
    '/static/index-AbC123_-.js/',
    '/index.html',
    '/.stamp',
  ])('has no file %s', async (path) => {
    expect((await bench.ask(path)).status).toBe(404);
  });

  it('is absent where there is no page', async () => {
    expect(await readStaticFiles(source, '/elsewhere')).toBeUndefined();
  });
});
