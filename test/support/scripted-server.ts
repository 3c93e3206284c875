/** A server that a test plays, for models with a `url`. */
import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';

export interface SeenRequest {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Answering = (response: ServerResponse, request: SeenRequest, message: IncomingMessage) => void;

export class ScriptedServer implements AsyncDisposable {
  /** Every POST, in order. */
  readonly seen: SeenRequest[] = [];
  answering: Answering;
  readonly #server: Server;
  readonly #port: number;

  private constructor(server: Server, port: number, answering: Answering) {
    this.#server = server;
    this.#port = port;
    this.answering = answering;
    server.on('request', (message: IncomingMessage, response: ServerResponse) => void this.#serve(message, response));
  }

  static async listen(answering: Answering, port = 0): Promise<ScriptedServer> {
    const server = createServer({ keepAliveTimeout: 60_000 }).listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return new ScriptedServer(server, typeof address === 'object' && address ? address.port : 0, answering);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/v1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    if (message.method === 'GET') {
      response.end('{}');
      return;
    }
    message.on('error', () => undefined);
    let body = '';
    for await (const chunk of message) body += String(chunk);
    const request = { url: message.url ?? '', headers: message.headers, body };
    this.seen.push(request);
    this.answering(response, request, message);
  }
}

export const CHAT_ANSWER = JSON.stringify({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'outside',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello.' }, finish_reason: 'stop' }],
});

export function answerChat(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(CHAT_ANSWER);
}
