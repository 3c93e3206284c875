/** Somebody else's server: well, and without our model. Answers every request. Argument: its port. */
import { createServer } from 'node:http';
import process from 'node:process';

createServer((request, response) => {
  request.resume();
  response.setHeader('content-type', 'application/json');
  response.end(request.url === '/v1/models' ? '{"object":"list","data":[{"id":"of-a-stranger"}]}' : '{"stolen":true}');
}).listen(Number(process.argv[2]), '127.0.0.1');
