/**
 * What anybody writes in an afternoon to stand between clients and one engine: node:http on both sides, pipes in between.
 * A program of its own, as the gateway is: `node --input-type=module -e SCRIPT ENGINE_PORT`. Prints its port; ends with
 * its parent.
 */
export const RELAY_SCRIPT = `
import { Agent, createServer, request } from 'node:http';
const port = Number(process.argv.at(-1));
const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
const server = createServer((incoming, response) => {
  const { method, url: path, headers } = incoming;
  const asked = request({ agent, host: '127.0.0.1', port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  asked.on('error', () => response.destroy());
  response.on('close', () => asked.destroy());
  incoming.pipe(asked);
});
server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(); }, 500);
`;
