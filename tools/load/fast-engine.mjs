/**
 * An engine for `npm run load -- stalled`: answers every request with a stream that has no end, as fast as it is read and no
 * faster. `GET /told`: how many streams there are, and the bytes that were handed to the system for all of them.
 *
 *   node fast-engine.mjs PORT
 */
import { createServer } from 'node:http';
import process from 'node:process';

const EVENT_TEXT = 2_048;
const chunk = {
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'stalled',
  choices: [{ index: 0, delta: { content: 'x'.repeat(EVENT_TEXT) }, finish_reason: null }],
};
const EVENT = Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);

/** @type {Set<import('node:http').ServerResponse>} */
const streams = new Set();
let bytes = 0;

/** @param {import('node:http').ServerResponse} response */
function fill(response) {
  let open = !response.destroyed;
  while (open) {
    bytes += EVENT.length;
    open = response.write(EVENT);
  }
}

const server = createServer((request, response) => {
  request.resume();
  if (request.method === 'GET') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url === '/told' ? { streams: streams.size, bytes } : { data: [] }));
    return;
  }
  streams.add(response);
  response.on('close', () => streams.delete(response));
  response.on('drain', () => fill(response));
  response.on('error', () => response.destroy());
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  fill(response);
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
