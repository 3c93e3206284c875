/** An OTLP collector that a test plays: HTTP with JSON, as `POST /v1/traces` of the specification. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { eventually } from './eventually.ts';

export interface CollectedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly startNanos: bigint;
  readonly endNanos: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Span ids. */
  readonly links: readonly string[];
  /** 2 = error. */
  readonly status: number;
  readonly resource: Readonly<Record<string, unknown>>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly [key: string]: unknown;
        readonly attributes?: readonly Attribute[];
        readonly links?: readonly { readonly spanId: string }[];
        readonly status?: { readonly code?: number };
      }[];
    }[];
  }[];
}

export class TraceCollector implements AsyncDisposable {
  readonly spans: CollectedSpan[] = [];
  /** Everything that was ever posted. */
  readonly texts: string[] = [];
  readonly headers: IncomingHttpHeaders[] = [];
  /** Of every export from now on. */
  status = 200;
  /** Exports are read and never answered. */
  isDeaf = false;
  readonly #server: Server;
  readonly #port: number;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.#port = port;
    server.on('request', (request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        this.headers.push(request.headers);
        this.texts.push(body);
        if (this.isDeaf) return;
        if (this.status === 200) this.spans.push(...spansOf(JSON.parse(body) as Export));
        response.writeHead(this.status, { 'content-type': 'application/json' }).end('{}');
      });
    });
  }

  static async listen(): Promise<TraceCollector> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return new TraceCollector(server, typeof address === 'object' && address ? address.port : 0);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The spans of the trace that holds a span for which this is true, once its root has come and all parents are there. */
  async trace(is: (span: CollectedSpan) => boolean): Promise<readonly CollectedSpan[]> {
    return eventually('the spans of a trace', () => {
      const traceId = this.spans.find(is)?.traceId;
      const all = this.spans.filter((span) => span.traceId === traceId);
      return all.length > 0 && all;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#server.listening) await once(this.#server, 'close');
  }
}

function spansOf({ resourceSpans }: Export): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        name: String(span['name']),
        traceId: String(span['traceId']),
        spanId: String(span['spanId']),
        parentSpanId: String(span['parentSpanId'] ?? ''),
        traceState: String(span['traceState'] ?? ''),
        kind: Number(span['kind']),
        startNanos: BigInt(String(span['startTimeUnixNano'])),
        endNanos: BigInt(String(span['endTimeUnixNano'])),
        attributes: valuesOf(span.attributes ?? []),
        links: (span.links ?? []).map(({ spanId }) => spanId),
        status: span.status?.code ?? 0,
        resource: valuesOf(resource.attributes),
      })),
    ),
  );
}

function valuesOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
