/** A server whose process stands still with a full backlog: connecting to it takes for ever, until it goes on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const PROGRAM = `
const server = require('node:http').createServer((request, response) => {
  request.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));
`;
/** One more than the backlog is accepted by the system itself. */
const FILLERS = 2;

export class DeafServer implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #fillers: readonly Socket[];

  private constructor(port: number, child: ChildProcess, fillers: readonly Socket[]) {
    this.url = `http://127.0.0.1:${port}`;
    this.#child = child;
    this.#fillers = fillers;
  }

  static async start(): Promise<DeafServer> {
    const child = spawn(process.execPath, ['-e', PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const port = Number(String(line));
    child.kill('SIGSTOP');
    const fillers: Socket[] = [];
    for (let count = 0; count < FILLERS; count += 1) {
      const filler = connect(port, '127.0.0.1').on('error', () => undefined);
      await once(filler, 'connect');
      fillers.push(filler);
    }
    return new DeafServer(port, child, fillers);
  }

  listenAgain(): void {
    for (const filler of this.#fillers) filler.destroy();
    this.#child.kill('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const filler of this.#fillers) filler.destroy();
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
