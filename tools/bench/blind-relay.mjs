/** Bytes in, bytes out, whatever they are: the floor of what a relay in Node can cost. PORT ENGINE_PORT */
import { connect, createServer } from 'node:net';

const [port, engine] = process.argv.slice(2).map(Number);
createServer({ noDelay: true }, (client) => {
  const server = connect({ port: engine, host: '127.0.0.1', noDelay: true });
  client.pipe(server).pipe(client);
  client.on('error', () => server.destroy());
  server.on('error', () => client.destroy());
}).listen({ port, host: '127.0.0.1', backlog: 4096 });
