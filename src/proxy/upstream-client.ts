/** The way to one engine. The forwarder knows nothing else of it, so that the hop can be made differently one day. */

export interface UpstreamRequest {
  readonly path: string;
  /** Name, value, name, value … without host and length. */
  readonly headers: readonly string[];
  readonly body: Buffer | readonly Buffer[];
  readonly bodyBytes: number;
  /** Not on a socket that has served before. */
  readonly fresh: boolean;
}

export interface UpstreamFailure {
  /**
   * `unreachable`: nothing was sent. `lost`: the connection ended early. `protocol`: what came is not HTTP.
   * `exhausted`: no connection was left, which a lease rules out.
   */
  readonly kind: 'unreachable' | 'lost' | 'protocol' | 'exhausted';
  /** The socket had served before. */
  readonly reused: boolean;
  /** A byte of an answer had come. */
  readonly answered: boolean;
  /** For logs only. */
  readonly detail: string;
}

/** Hears, in this order: sent, interim*, head, data*, end; or, at any point and last, failed. Nothing after cancel(). */
export interface UpstreamListener {
  sent(reused: boolean): void;
  interim(status: number): void;
  /** Name, value, name, value … as written. False pauses, as in data(). */
  head(status: number, fields: readonly string[]): boolean;
  /** False: no more until resume(). */
  data(chunk: Buffer): boolean;
  end(): void;
  failed(failure: UpstreamFailure): void;
}

export interface UpstreamCall {
  resume(): void;
  /** Closes the connection, whatever state it is in; `closed` is called when the engine's side of it is gone. */
  cancel(closed: () => void): void;
}

export interface UpstreamClient {
  send(request: UpstreamRequest, listener: UpstreamListener): UpstreamCall;
}
