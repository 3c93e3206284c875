/** One plain call of a Docker daemon, without the client library that the product uses. */
import { request } from 'node:http';
import type { Readable } from 'node:stream';

export interface DockerAnswer {
  readonly status: number;
  readonly text: string;
}

/** A string is sent as JSON, a stream as a tar file. */
export function callDocker(
  socketPath: string,
  method: string,
  path: string,
  body?: string | Readable,
): Promise<DockerAnswer> {
  return new Promise((resolve, reject) => {
    const type = typeof body === 'string' ? 'application/json' : 'application/x-tar';
    const call = request(
      { socketPath, method, path, agent: false, headers: body === undefined ? {} : { 'content-type': type } },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.once('error', reject);
        answer.once('end', () => {
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
        });
      },
    );
    call.once('error', reject);
    if (body === undefined || typeof body === 'string') call.end(body);
    else {
      body.once('error', reject);
      body.pipe(call);
    }
  });
}
