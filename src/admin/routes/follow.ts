/** Routes that go on: the event stream and the logs of a replica. All of them end when the control plane closes. */
import type { JournalEntry } from '../../controller/control.ts';
import { gatewayError } from '../../errors.ts';
import { isPrivileged } from '../app.ts';
import type { DecisionEvent } from '../contract.ts';
import { openEventStream } from '../event-stream.ts';
import { openLineStream } from '../line-stream.ts';
import type { AdminOptions } from '../options.ts';
import { errorReply } from '../reply.ts';
import { get } from '../routing.ts';
import type { AdminContext, Route } from '../routing.ts';
import { readStatusFacts } from '../status-facts.ts';
import { statusAnswerOf } from '../status.ts';
import type { Milliseconds } from '../../units.ts';

export const LOG_TAIL_DEFAULT = 100;
export const LOG_TAIL_MAX = 10_000;

/** `closers`: one per open answer. */
export function followingRoutes(
  options: AdminOptions,
  startedAt: Milliseconds,
  closers: Set<() => void>,
): readonly Route[] {
  return [
    get('/gateway/events', 'metrics', (context) => {
      const headers = {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      };
      if (context.req.method === 'HEAD') return new Response(null, { headers });
      return new Response(eventsFor(context, options, startedAt, closers), { headers });
    }),
    get('/gateway/replicas/(?<id>.+)/logs', 'admin', (context, { id = '' }) => logsOf(context, id, options, closers)),
  ];
}

function eventsFor(
  context: AdminContext,
  options: AdminOptions,
  startedAt: Milliseconds,
  closers: Set<() => void>,
): ReadableStream<Uint8Array> {
  const { control, clock } = options;
  const stream = openEventStream(clock, () => {
    closers.delete(stream.close);
    subscription[Symbol.dispose]();
  });
  const tell = (entry: JournalEntry): void =>
    stream.send({ event: 'decision', id: entry.seq, data: decisionOf(entry) });
  closers.add(stream.close);
  // One turn of the event loop from subscription to snapshot: no decision falls between them.
  const subscription = control.subscribe(tell);
  const facts = readStatusFacts(options, startedAt, isPrivileged(context, options));
  stream.send({ event: 'snapshot', data: statusAnswerOf(facts) });
  const last = lastSeen(context);
  if (last !== undefined) for (const entry of control.recent()) if (entry.seq > last) tell(entry);
  if (context.req.query('follow') === 'false') stream.close();
  return stream.body;
}

/** A browser that comes back says what it heard last. */
function lastSeen(context: AdminContext): number | undefined {
  const text = context.req.header('last-event-id') ?? '';
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function decisionOf(entry: JournalEntry): DecisionEvent {
  const { seq, at, kind, model, replica, reason, detail } = entry;
  return { seq, at: new Date(at).toISOString(), kind, model, replica, reason, detail: { ...detail } };
}

function logsOf(context: AdminContext, id: string, options: AdminOptions, closers: Set<() => void>): Response {
  const tail = tailOf(context.req.query('tail'));
  if (tail === undefined) {
    const message = `tail must be a whole number from 0 to ${LOG_TAIL_MAX}.`;
    return errorReply(gatewayError('invalid_body', message, { param: 'tail' }));
  }
  const follow = isTrue(context.req.query('follow'));
  const stopping = new AbortController();
  const stop = (): void => {
    closers.delete(stop);
    stopping.abort();
  };
  const lines = options.control.logs(id, { tail, follow, signal: stopping.signal });
  if (!lines) {
    const known = [...options.control.snapshot().replicas.keys()].slice(0, 20).join(', ');
    return errorReply(
      gatewayError('route_not_found', `There is no replica of this id; there are: ${known || 'none'}.`),
    );
  }
  const headers = {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  };
  if (context.req.method === 'HEAD') return new Response(null, { headers });
  closers.add(stop);
  const failed = (err: unknown): void => options.telemetry.log.warn({ err, replica: id }, 'a log could not be read on');
  return new Response(openLineStream(ending(lines, stop), stop, failed), { headers });
}

/** The same lines; `ended` runs at their end however it comes. */
async function* ending(lines: AsyncIterable<string>, ended: () => void): AsyncGenerator<string> {
  try {
    yield* lines;
  } finally {
    ended();
  }
}

function tailOf(text: string | undefined): number | undefined {
  if (text === undefined) return LOG_TAIL_DEFAULT;
  const tail = /^\d{1,6}$/.test(text) ? Number(text) : Infinity;
  return tail <= LOG_TAIL_MAX ? tail : undefined;
}

export function isTrue(text: string | undefined): boolean {
  return text === '' || text === 'true' || text === '1';
}
