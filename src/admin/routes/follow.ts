/** Routes that go on: the event stream and the logs of a replica. All of them end when the control plane closes. */
import type { JournalEntry } from '../../controller/control.ts';
import { gatewayError } from '../../errors.ts';
import { factsOf, isPrivileged } from '../app.ts';
import type { ActivityEvent, DecisionEvent, ViewerEvent } from '../contract.ts';
import { openEventStream } from '../event-stream.ts';
import { openLineStream } from '../line-stream.ts';
import { stillAllowed, type OpenAnswers } from '../open-answers.ts';
import type { AdminOptions } from '../options.ts';
import { errorReply } from '../reply.ts';
import { get } from '../routing.ts';
import type { AdminContext, Route } from '../routing.ts';
import { readStatusFacts } from '../status-facts.ts';
import { statusAnswerOf } from '../status.ts';
import { SECOND } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';

export const LOG_TAIL_DEFAULT = 100;
export const LOG_TAIL_MAX = 10_000;
export const SNAPSHOTS_MIN: Milliseconds = SECOND / 2;
export const SNAPSHOTS_MAX: Milliseconds = 60 * SECOND;

export function followingRoutes(options: AdminOptions, startedAt: Milliseconds, open: OpenAnswers): readonly Route[] {
  return [
    get('/gateway/events', 'metrics', (context) => {
      const headers = {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      };
      const every = intervalOf(context.req.query('snapshots'));
      if (every === undefined) {
        const message = `snapshots must be a number of seconds from ${SNAPSHOTS_MIN / SECOND} to ${SNAPSHOTS_MAX / SECOND}.`;
        return errorReply(gatewayError('invalid_body', message, { param: 'snapshots' }));
      }
      if (context.req.method === 'HEAD') return new Response(null, { headers });
      return new Response(eventsFor(context, options, startedAt, open, every), { headers });
    }),
    get('/gateway/replicas/(?<id>.+)/logs', 'admin', (context, { id = '' }) => logsOf(context, id, options, open)),
  ];
}

function eventsFor(
  context: AdminContext,
  options: AdminOptions,
  startedAt: Milliseconds,
  open: OpenAnswers,
  every: Milliseconds | null,
): ReadableStream<Uint8Array> {
  const { control, clock } = options;
  let timer: Disposable | undefined;
  const stream = openEventStream(clock, () => {
    open.delete(stream.close);
    subscription[Symbol.dispose]();
    timer?.[Symbol.dispose]();
  });
  const look = (): void => {
    if (every !== null) stream.send({ event: 'activity', data: activityOf(options) });
    stream.send({
      event: 'snapshot',
      data: statusAnswerOf(readStatusFacts(options, startedAt, isPrivileged(context, options))),
    });
  };
  const lookAgain = (interval: Milliseconds): void => {
    timer = clock.after(interval, () => {
      look();
      if (open.has(stream.close)) lookAgain(interval);
    });
  };
  const tell = (entry: JournalEntry): void =>
    stream.send({ event: 'decision', id: entry.seq, data: decisionOf(entry) });
  open.set(stream.close, stillAllowed(context, options, 'metrics'));
  // One turn of the event loop from subscription to snapshot: no decision falls between them.
  const subscription = control.subscribe(tell);
  if (every !== null) stream.send({ event: 'viewer', data: viewerOf(context, options) });
  look();
  if (every !== null) lookAgain(every);
  const last = lastSeen(context);
  if (last !== undefined) for (const entry of control.recent()) if (entry.seq > last) tell(entry);
  if (context.req.query('follow') === 'false') stream.close();
  return stream.body;
}

/** What the listener may do besides listening, asked as its own request would be asked. */
function viewerOf(context: AdminContext, options: AdminOptions): ViewerEvent {
  const may = (need: 'admin' | 'inference'): boolean =>
    'principal' in options.access().check(need, factsOf(context, true));
  return { admin: may('admin'), inference: may('inference') };
}

function activityOf({ telemetry, clock }: AdminOptions): ActivityEvent {
  const models = [...telemetry.activity.totals()].map(([name, model]) => [
    name,
    {
      requests: model.requests,
      unfinished: model.unfinished,
      first_bytes: model.firstBytes,
      first_byte_s: model.firstByteSeconds,
      prompt_tokens: model.promptTokens,
      completion_tokens: model.completionTokens,
    },
  ]);
  return { at: new Date(clock.wall()).toISOString(), models: Object.fromEntries(models) };
}

/** Null: one snapshot is enough. Undefined: not a time that may be asked for. */
function intervalOf(text: string | undefined): Milliseconds | null | undefined {
  if (text === undefined) return null;
  const interval = /^\d{1,2}(?:\.\d)?$/.test(text) ? Number(text) * SECOND : 0;
  return interval >= SNAPSHOTS_MIN && interval <= SNAPSHOTS_MAX ? interval : undefined;
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

function logsOf(context: AdminContext, id: string, options: AdminOptions, open: OpenAnswers): Response {
  const tail = tailOf(context.req.query('tail'));
  if (tail === undefined) {
    const message = `tail must be a whole number from 0 to ${LOG_TAIL_MAX}.`;
    return errorReply(gatewayError('invalid_body', message, { param: 'tail' }));
  }
  const follow = isTrue(context.req.query('follow'));
  const stopping = new AbortController();
  const stop = (): void => {
    open.delete(stop);
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
  open.set(stop, stillAllowed(context, options, 'admin'));
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
