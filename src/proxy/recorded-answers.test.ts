/** What a real engine answered, through the gateway: status, safe headers and body must come out unharmed. */
import { describe, expect, it } from 'vitest';
import { createProxyBench, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { recordedAnswer, recordedRows, type RecordedAnswer } from '../../test/support/recorded.ts';
import { readBroken } from '../../test/support/reading.ts';
import { chunk, LAST_CHUNK } from '../../test/support/rude-upstream.ts';
import { shapedErrorBody } from './engine-errors.ts';
import { findRoute } from './endpoints.ts';

/** Streams that the engine itself cut off, or never ended: what a client must not take for whole. */
const CUT = new Set(['api-server-killed-stream', 'drain-expired-stream-never-ends', 'stop-never-ends-stream']);

function onTheWire({ status, headers, body }: RecordedAnswer, cut: boolean): Buffer {
  const head = `HTTP/1.1 ${status} Text\r\n${headers.map(([name, value]) => `${name}: ${value}`).join('\r\n')}\r\n\r\n`;
  if (!headers.some(([name]) => name === 'transfer-encoding')) return Buffer.concat([Buffer.from(head), body]);
  // On the wire every event was a chunk of its own.
  const events = body.toString('latin1').split(/(?<=\n\n)/);
  const chunks = events.map((event) => chunk(Buffer.from(event, 'latin1')));
  return Buffer.concat([Buffer.from(head), ...chunks, Buffer.from(cut ? '' : LAST_CHUNK)]);
}

const rows = recordedRows().filter(({ name, method, path }) => {
  const route = findRoute(path.split('?')[0] ?? '', benchSettings());
  return method === 'POST' && route?.kind === 'inference' && !name.endsWith('.raw');
});

function benchSettings() {
  return {
    models: new Map(),
    aliases: new Map(),
    loadedAt: 0,
    maxBodySize: 1,
    maxBufferedBytes: 1,
    corsOrigins: [],
    retry: { attempts: 1, delay: 0, factor: 1, engineDown: false },
  };
}

function isStream(recorded: RecordedAnswer): boolean {
  return recorded.headers.some(([name, value]) => name === 'content-type' && value.startsWith('text/event-stream'));
}

async function relay(bench: ProxyBench, path: string, recorded: RecordedAnswer): Promise<Response> {
  const form = path.includes('/audio/');
  if (!form) return bench.post(path, { model: 'tiny', stream: isStream(recorded) });
  const body = new FormData();
  body.set('model', 'tiny');
  return fetch(`${bench.url}${path}`, { method: 'POST', body });
}

describe('a recorded answer', () => {
  it('is there for most routes', () => {
    expect(rows.length).toBeGreaterThan(60);
  });

  it.each(rows.map(({ name, path }) => [name, path] as const))(
    '%s on %s is passed on unharmed [item 43]',
    async (name, path) => {
      const recorded = recordedAnswer(name);
      const cut = CUT.has(name);
      await using bench = await createProxyBench({
        script: (_request, socket) => {
          const bytes = onTheWire(recorded, cut);
          if (cut) socket.end(bytes);
          else socket.write(bytes);
        },
      });
      bench.gate.onGiveBack = () => ({ kind: 'refused', error: { code: 'upstream_lost', message: 'once' } });
      const answer = await relay(bench, path, recorded);
      if (recorded.status === 401) {
        // The gateway's key, not the client's.
        expect(answer.status).toBe(502);
        return;
      }
      if (name === 'busy-chat-stream-late') {
        // A refusal in the first event of a stream that had begun well is a refusal.
        expect(answer.status).toBe(503);
        expect(recorded.body.toString()).toBe(`data: ${await answer.text()}\n\ndata: [DONE]\n\n`);
        return;
      }
      expect(answer.status).toBe(recorded.status);
      for (const header of ['server', 'set-cookie']) expect(answer.headers.has(header)).toBe(false);
      const { text, whole } = await readBroken(answer);
      if (cut) {
        expect(whole).toBe(false);
        expect(text.startsWith(recorded.body.toString())).toBe(true);
        expect(text.slice(recorded.body.toString().length)).toMatch(/^data: \{"error":/);
        return;
      }
      expect(whole).toBe(true);
      const shape = path.startsWith('/v1/messages') ? 'anthropic' : 'openai';
      const id = answer.headers.get('x-request-id') ?? '';
      const expected =
        recorded.status < 400 ? recorded.body : shapedErrorBody(recorded.body, recorded.status, shape, id);
      expect(text).toBe(expected.toString());
      const type = recorded.headers.find(([header]) => header === 'content-type')?.[1];
      if (recorded.status < 400) expect(answer.headers.get('content-type')).toBe(type);
      if (recorded.status >= 400) expect(JSON.parse(text)).toHaveProperty('error.message');
    },
  );
});
