/** One socket to an engine, which carries one request at a time. */
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';
import type { Network } from './network.ts';
import type { UpstreamCall, UpstreamListener, UpstreamRequest } from './upstream-client.ts';

export interface ConnectionOptions {
  readonly clock: Clock;
  /** Not asked for external servers: undici has its own sockets. */
  readonly network: Network;
  readonly origin: string;
  readonly connectTimeout: Milliseconds;
  /** The socket closes itself after this much idleness. */
  readonly idleLimit: Milliseconds;
  readonly opened: () => void;
  /** An answer is complete: the connection may serve again. */
  readonly freed: (connection: UpstreamConnection) => void;
  /** It carries no request and never will again. */
  readonly gone: (connection: UpstreamConnection) => void;
}

/**
 * Gives up on a connection that was not made in time. One that was made while the process stood still, or its loop was
 * blocked, is heard of first. Disposed when it stands, or is over.
 */
export function unlessConnected({ clock, connectTimeout }: ConnectionOptions, giveUp: () => void): Disposable {
  let over = false;
  const timer = clock.after(connectTimeout, () => {
    clock.afterReads(() => {
      if (!over) giveUp();
    });
  });
  return {
    [Symbol.dispose]: () => {
      over = true;
      timer[Symbol.dispose]();
    },
  };
}

export interface UpstreamConnection {
  /** Monotonic; when it became idle. */
  idleSince: Milliseconds;
  readonly connectTimeout: Milliseconds;
  send(request: UpstreamRequest, listener: UpstreamListener): UpstreamCall;
  /** Closes the socket now; a running call hears of it. */
  close(): void;
}
