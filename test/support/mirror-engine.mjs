/** An engine that answers every request with what it saw of it. Argument: its port. */
import { createServer } from 'node:http';
import process from 'node:process';

createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    const { method, url, headers } = request;
    const body = Buffer.concat(pieces).toString();
    const key = process.env['VGW_ENGINE_KEY'];
    response.setHeader('content-type', 'application/json');
    response.setHeader('set-cookie', 'engine=1');
    response.end(JSON.stringify({ model: 'org/mirror', method, url, headers, body, key }));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
