/**
 * Whether this version of Node takes what SocketResponseWriter tells its response objects: three pipelined requests on a
 * connection in memory, answered that way, must give exactly their three answers, and the end of the connection.
 */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Clock } from '../platform/platform.ts';
import { SocketResponseWriter } from './socket-response-writer.ts';
import { WriteGatherer } from './write-gatherer.ts';

const REQUESTS = [
  'GET /1 HTTP/1.1\r\nhost: x\r\n\r\n',
  'GET /2 HTTP/1.1\r\nhost: x\r\n\r\n',
  'GET /3 HTTP/1.0\r\n\r\n',
];
/** Chunked, with a length, and ended by the connection. */
const BODIES = [/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n1\r\na\r\n0\r\n\r\n$/, /\r\n\r\nb$/, /\r\n\r\nc$/];
/** Turns of the loop that the whole may take. */
const TURNS = 20;

class Line extends Duplex {
  received = '';

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.received += chunk.toString('latin1');
    done();
  }
}

export async function socketWriterWorks(clock: Clock): Promise<boolean> {
  const gatherer = new WriteGatherer(clock);
  const line = new Line();
  let served = 0;
  const server = createServer({ requireHostHeader: false }, (_request, response) => {
    served += 1;
    const writer = new SocketResponseWriter({
      response,
      socket: line as unknown as Socket,
      gatherer,
      date: () => 'now',
    });
    writer.head(200, served === 2 ? ['content-length', '1'] : ['content-type', 'text/plain']);
    if (served === 2) writer.end('b');
    else {
      writer.write(Buffer.from(served === 1 ? 'a' : 'c'), () => undefined);
      writer.end();
    }
  });
  try {
    server.emit('connection', line);
    line.push(REQUESTS.join(''));
    for (let turn = 0; turn < TURNS && !line.writableFinished; turn += 1) {
      await new Promise<void>((resolve) => clock.afterReads(resolve));
    }
    const answers = line.received.split(/(?=HTTP\/1\.1 )/);
    return (
      line.writableFinished &&
      answers.length === BODIES.length &&
      BODIES.every((body, at) => body.test(answers[at] ?? ''))
    );
  } catch {
    // Whatever it is that this Node does differently, it is not what the writer was made for.
    return false;
  } finally {
    line.destroy();
    server.close();
  }
}
