/** The configurations of docs/reverse-proxy.md, run as they stand there but for names and TLS, with a gateway behind. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noEngineLeft } from './support/engine-processes.ts';
import { eventually } from './support/eventually.ts';
import type { TestGateway } from './support/in-process-gateway.ts';
import { engineStats, startFleet, statusOf } from './support/simulated-fleet.ts';
import { readSource } from './support/source-tree.ts';

interface ReverseProxy {
  /** The language of its block on the page. */
  readonly name: string;
  readonly argv: (file: string) => readonly string[];
  readonly configuration: (shown: string, port: number, gatewayPort: number) => string;
}

const PROXIES: readonly ReverseProxy[] = [
  {
    name: 'nginx',
    argv: (file) => ['nginx', '-p', join(file, '..'), '-c', file, '-e', 'stderr'],
    configuration: (shown, port, gatewayPort) => {
      const plain = shown
        .replace('listen 443 ssl;', `listen 127.0.0.1:${port};`)
        .replaceAll(/^ *ssl_certificate.*\n/gm, '')
        .replace('127.0.0.1:9000', `127.0.0.1:${gatewayPort}`);
      const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path files;`);
      return `daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n${folders.join('\n')}\n${plain}}\n`;
    },
  },
  {
    name: 'caddy',
    argv: (file) => ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'],
    configuration: (shown, port, gatewayPort) =>
      `{\n\tadmin off\n\tauto_https off\n}\n${shown
        .replace('llm.example.org {', `http://127.0.0.1:${port} {`)
        .replace('127.0.0.1:9000', `127.0.0.1:${gatewayPort}`)}`,
  },
];

const installed = ({ argv }: ReverseProxy): boolean => {
  const [command = ''] = argv('');
  return spawnSync(command, [command === 'nginx' ? '-v' : 'version']).status === 0;
};

/** As the page shows it. */
function shownFor(name: string): string {
  const found = new RegExp(`\`\`\`${name}\\n([^]*?)\`\`\``).exec(readSource('docs/reverse-proxy.md'));
  if (found?.[1] === undefined) throw new Error(`docs/reverse-proxy.md shows nothing for ${name}`);
  return found[1];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function start(proxy: ReverseProxy, gatewayPort: number): Promise<AsyncDisposable & { readonly url: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'vgw-reverse-'));
  await mkdir(join(folder, 'files'));
  const port = await freePort();
  const file = join(folder, 'proxy.conf');
  await writeFile(file, proxy.configuration(shownFor(proxy.name), port, gatewayPort));
  const [command = '', ...args] = proxy.argv(file);
  const child = spawn(command, args, {
    env: { PATH: process.env['PATH'], HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  await eventually(`${proxy.name} listens`, async () => {
    if (child.exitCode !== null) throw new Error(said);
    return (await fetch(`${url}/healthz`)).ok;
  });
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describe.each(PROXIES)('behind $name, as the page shows it', (proxy) => {
  describe.skipIf(!installed(proxy))('(it is installed)', () => {
    let gateway: TestGateway;
    let front: AsyncDisposable & { readonly url: string };

    beforeAll(async () => {
      gateway = await startFleet([{ name: 'one', knobs: { START_MS: 50 } }]);
      front = await start(proxy, gateway.port);
    });

    afterAll(async () => {
      const { id } = gateway.gateway;
      await front[Symbol.asyncDispose]();
      await gateway[Symbol.asyncDispose]();
      await noEngineLeft(id);
    });

    const ask = (more: object = {}, init: RequestInit = {}): Promise<Response> =>
      fetch(`${front.url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ model: 'one', messages: [{ role: 'user', content: 'Hello!' }], ...more }),
        ...init,
        headers: { 'content-type': 'application/json', ...(init.headers as Readonly<Record<string, string>>) },
      });
    const inFlight = async (): Promise<number> => (await statusOf(gateway)).models['one']?.in_flight ?? 0;

    it('frames of a stream arrive while the engine still computes, and a client that leaves ends its work', async () => {
      const leaving = new AbortController();
      // One frame, and none after it that could push it through a buffer, or show the proxy that nobody reads.
      const endless = { stream: true, fake: { tokens: 2, token_ms: 60_000 } };
      const answer = await ask(endless, { signal: leaving.signal });
      expect(answer.headers.get('content-type')).toContain('text/event-stream');
      const reader = (answer.body ?? new ReadableStream<Uint8Array>()).getReader();
      const first = await reader.read();
      expect(new TextDecoder().decode(first.value)).toMatch(/^data: \{/);
      expect(await inFlight()).toBe(1);
      leaving.abort();
      await eventually('the slot is free', async () => (await inFlight()) === 0);
      await eventually('the engine has stopped', async () => (await engineStats(gateway, 'one')).running === 0);
    });

    it('the id of a request is the one that the client chose, else one is made', async () => {
      const chosen = await ask({}, { headers: { 'x-request-id': 'chosen-by-the-client' } });
      expect([chosen.status, chosen.headers.get('x-request-id')]).toEqual([200, 'chosen-by-the-client']);
      const made = await ask();
      expect(made.headers.get('x-request-id')).toMatch(/^[\w-]{8,}$/);
      const kept = await fetch(`${gateway.url}/gateway/requests/${made.headers.get('x-request-id')}`);
      expect(kept.status).toBe(200);
    });

    it('a body of some megabytes passes', async () => {
      const fits = await ask({ metadata: { picture: 'x'.repeat(3 * 1024 * 1024) } });
      expect(fits.status).toBe(200);
    });

    it('errors keep status and body', async () => {
      const unknown = await ask({ model: 'nobody' });
      expect([unknown.status, await unknown.json()]).toMatchObject([404, { error: { code: 'model_not_found' } }]);
    });

    it('nobody is taken for a caller of this machine', async () => {
      const unload = await fetch(`${front.url}/gateway/models/one/unload`, { method: 'POST' });
      expect([unload.status, await unload.json()]).toMatchObject([403, { error: { code: 'permission_denied' } }]);
    });
  });
});
