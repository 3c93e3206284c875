/** The relay that anybody writes in an afternoon: node:http on both sides, pipes in between. PORT ENGINE_PORT */
import { Agent, createServer, request } from 'node:http';

const [port, engine] = process.argv.slice(2).map(Number);
const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
createServer((incoming, response) => {
  const out = request(
    { agent, host: '127.0.0.1', port: engine, method: incoming.method, path: incoming.url, headers: incoming.headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    },
  );
  out.on('error', () => response.destroy());
  response.on('close', () => out.destroy());
  incoming.pipe(out);
}).listen({ port, host: '127.0.0.1', backlog: 4096 });
