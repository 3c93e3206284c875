/** Server-sent events for one subscriber: bounded, with heartbeats, ended by either side. */
import { MIB, SECOND } from '../units.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { AdminOptions } from './options.ts';

export const EVENT_HEARTBEAT: Milliseconds = 15 * SECOND;
/** A subscriber that lags further behind is cut off; it comes back with `Last-Event-ID` and is told what it missed. */
export const EVENT_BUFFER: Bytes = MIB;
/** What a browser waits before it comes back. */
const RECONNECT_AFTER: Milliseconds = 2 * SECOND;

export interface ServerSentEvent {
  readonly event: string;
  readonly id?: number;
  readonly data: unknown;
}

export interface EventStream {
  readonly body: ReadableStream<Uint8Array>;
  send(event: ServerSentEvent): void;
  /** Ends the stream after what was sent. Idempotent. */
  close(): void;
}

/** `ended` runs once, whoever ends it. */
export function openEventStream(clock: AdminOptions['clock'], ended: () => void): EventStream {
  const encoder = new TextEncoder();
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let heartbeat: Disposable | undefined;

  function finish(): void {
    if (!controller) return;
    controller = undefined;
    heartbeat?.[Symbol.dispose]();
    ended();
  }

  function write(text: string): void {
    if (!controller) return;
    // Asked before the write: one event may be larger than the buffer, a second one behind it may not wait there.
    if ((controller.desiredSize ?? 0) <= 0) close('event: overflow\ndata: {}\n\n');
    else controller.enqueue(encoder.encode(text));
  }

  function close(lastWords = ''): void {
    const open = controller;
    finish();
    if (open && lastWords !== '') open.enqueue(encoder.encode(lastWords));
    open?.close();
  }

  function beat(): void {
    heartbeat = clock.after(EVENT_HEARTBEAT, () => {
      write(': heartbeat\n\n');
      if (controller) beat();
    });
  }

  const body = new ReadableStream<Uint8Array>(
    {
      start: (opened) => {
        controller = opened;
      },
      cancel: finish,
    },
    new ByteLengthQueuingStrategy({ highWaterMark: EVENT_BUFFER }),
  );
  write(`retry: ${RECONNECT_AFTER}\n\n`);
  beat();
  return {
    body,
    close: () => close(),
    send: ({ event, id, data }) => {
      const name = id === undefined ? '' : `id: ${id}\n`;
      // JSON holds no raw line break, so one data line is enough.
      write(`${name}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    },
  };
}
