/** A whole gateway before one recorder, reached over both kinds of hop: a process of its own, and a server of others. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { fieldOf, talk, type Answer } from './client.ts';
import { digestOf, Recorder, type Recorded } from './recorder.ts';
import { readUnambiguous } from './unambiguous.ts';

const PIPE = fileURLToPath(new URL('pipe-engine.mjs', import.meta.url));
export const MAX_BODY = 12 * 1024 * 1024;

/** Names of one length, so that the same bytes are the same case for both. */
export const MODELS = ['near', 'afar'] as const;
export type Model = (typeof MODELS)[number];

export interface AccessLine {
  readonly status: number;
  readonly outcome: string;
  readonly code?: string;
  readonly model: string;
  readonly route: string;
}

interface Counters {
  readonly limits: { readonly buffered_bytes: number };
  readonly models: Readonly<Record<string, { readonly in_flight: number; readonly queued: number }>>;
}

export class Bench implements AsyncDisposable {
  readonly gateway: TestGateway;
  readonly recorder: Recorder;
  /** Every request that any engine was ever sent: what other parsers are asked about. */
  readonly forwarded: Buffer[] = [];
  #linesSeen = 0;
  /** Line of the head that lets a request in, its end included; '' where none is needed. */
  readonly #credential: string;
  #goods = 0;

  constructor(gateway: TestGateway, recorder: Recorder, key: string) {
    this.gateway = gateway;
    this.recorder = recorder;
    this.#credential = key === '' ? '' : `Authorization: Bearer ${key}\r\n`;
  }

  get port(): number {
    return this.gateway.port;
  }

  /** Access lines since it was asked last. */
  takeLines(): readonly AccessLine[] {
    const lines = this.gateway.lines.slice(this.#linesSeen);
    this.#linesSeen = this.gateway.lines.length;
    return lines.flatMap((line) => {
      const parsed = JSON.parse(line) as AccessLine & { readonly msg: string };
      return parsed.msg === 'request' ? [parsed] : [];
    });
  }

  goodRequest(model: Model = 'near'): { readonly bytes: Buffer; readonly isAnswer: (answer: Answer) => boolean } {
    const body = Buffer.from(JSON.stringify({ model, nonce: `good-${this.#goods++}` }));
    const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n${this.#credential}Content-Length: ${body.length}\r\n\r\n`;
    return {
      bytes: Buffer.concat([Buffer.from(head), body]),
      isAnswer: (answer) => answer.status === 200 && answer.body.toString().includes(digestOf(body)),
    };
  }

  /**
   * The gateway is as good as new: a request on a new connection gets its own answer, nothing is held, and since the last
   * time the engine was sent just so many requests and just so many access lines were written.
   */
  async settle(expected: { readonly upstream: number; readonly lines: number }): Promise<{
    readonly requests: readonly Recorded[];
    readonly lines: readonly AccessLine[];
  }> {
    await this.good();
    const requests = this.recorder.take();
    for (const { raw } of requests) {
      readUnambiguous(raw);
      this.forwarded.push(raw);
    }
    const lines = this.takeLines();
    // The good one is the last of both.
    expect([requests.length - 1, lines.length - 1]).toEqual([expected.upstream, expected.lines]);
    expect(this.recorder.pending).toBe(0);
    await this.idle();
    return { requests: requests.slice(0, -1), lines: lines.slice(0, -1) };
  }

  /** A request on a new connection gets its own answer. */
  async good(): Promise<void> {
    const good = this.goodRequest();
    const { answers } = await talk({ port: this.port, pieces: [good.bytes], next: firstAnswer });
    expect(answers.map((answer) => good.isAnswer(answer))).toEqual([true]);
  }

  /** `but`: bodies whose rest may still come hold bytes. */
  async idle(but?: 'bodies'): Promise<void> {
    let last: unknown;
    await eventually('no counter is held', async () => {
      const { limits, models } = (await this.gateway.status()) as unknown as Counters;
      last = [
        but === 'bodies' ? 0 : limits.buffered_bytes,
        ...Object.values(models).flatMap(({ in_flight, queued }) => [in_flight, queued]),
      ];
      return (last as readonly number[]).every((count) => count === 0);
    }).catch((error: unknown) => {
      throw new Error(`counters: ${JSON.stringify(last)}`, { cause: error });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await this.recorder[Symbol.asyncDispose]();
  }
}

export const firstAnswer = (answers: readonly Answer[]): 'enough' | 'wait' =>
  answers.some(({ status }) => status >= 200) ? 'enough' : 'wait';

/** `key`: of an administrator, where `more` configures keys. */
export async function startBench(more = '', key = ''): Promise<Bench> {
  const recorder = new Recorder();
  const port = await recorder.listen();
  const command = JSON.stringify([process.execPath, PIPE, '${port}', String(port)]);
  const gateway = await startTestGateway({
    recount: false,
    ...(key === '' ? {} : { adminKey: key }),
    server: `  max_body_size: ${MAX_BODY / 1024}KiB\n  keepalive: { after: 0, every: 0 }\n`,
    yaml: [
      'devices: { probe: none }',
      'drivers: { default: process }',
      'retry: { attempts: 3, delay: 5ms }',
      'models:',
      `  near: { repo: near, command: ${command}, health_path: /health, inactivity_timeout: 0 }`,
      `  afar: { repo: afar, url: "http://127.0.0.1:${port}", health_path: /health }`,
      `  org/pair: { repo: pear, url: "http://127.0.0.1:${port}", health_path: /health }`,
      more,
    ].join('\n'),
  });
  const bench = new Bench(gateway, recorder, key);
  for (const model of MODELS) {
    const good = bench.goodRequest(model);
    const { answers } = await talk({ port: bench.port, pieces: [good.bytes], next: firstAnswer });
    expect([answers[0]?.body.toString(), answers.length]).toEqual([expect.stringContaining('echo'), 1]);
  }
  recorder.take();
  bench.takeLines();
  return bench;
}

export function codeOf(answer: Answer | undefined): unknown {
  if (answer === undefined || fieldOf(answer, 'content-type') !== 'application/json') return undefined;
  const { error } = JSON.parse(answer.body.toString()) as { error?: { code?: unknown } };
  return error?.code;
}
