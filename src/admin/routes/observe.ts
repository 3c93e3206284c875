/** Routes that look: health, metrics, status, finished requests, the configuration. */
import { allows } from '../../auth/access.ts';
import { effectiveConfig } from '../../config/effective.ts';
import { gatewayError } from '../../errors.ts';
import type { RequestRecord } from '../../telemetry/telemetry.ts';
import { isPrivileged } from '../app.ts';
import type { PlanAnswer, ReadyAnswer, RequestAnswer } from '../contract.ts';
import { findModel } from '../find-model.ts';
import type { AdminOptions } from '../options.ts';
import { plainPage, SECURITY_HEADERS } from '../page.ts';
import { errorReply, jsonReply, retryAfter } from '../reply.ts';
import { get } from '../routing.ts';
import type { AdminContext, Route } from '../routing.ts';
import { readStatusFacts } from '../status-facts.ts';
import { staticReply } from '../static-files.ts';
import type { StaticFile } from '../static-files.ts';
import { statusAnswerOf } from '../status.ts';
import { SECOND, toMicrosecond } from '../../units.ts';
import type { Milliseconds } from '../../units.ts';

/** `startedAt`: when the gateway started, on the monotonic clock. */
export function observingRoutes(options: AdminOptions, startedAt: Milliseconds): readonly Route[] {
  return [
    get('/healthz', 'open', () => jsonReply({ status: 'ok' })),
    get('/readyz', 'open', () => readiness(options)),
    get('/metrics', 'metrics', async () => {
      const { contentType, text } = await options.telemetry.renderMetrics();
      return new Response(text, { headers: { 'content-type': contentType, 'cache-control': 'no-store' } });
    }),
    get('/gateway/status', 'metrics', (context) =>
      jsonReply(statusAnswerOf(readStatusFacts(options, startedAt, isPrivileged(context, options)))),
    ),
    get('/gateway/plan', 'metrics', (context) => planOf(options, context.req.query('model'))),
    get('/gateway/requests/(?<id>.+)', 'inference', (context, { id = '' }) => {
      const principal = context.get('principal');
      const record = options.telemetry.requests.find(id, allows(principal, 'admin') ? null : principal.keyId);
      if (record) return jsonReply(requestAnswerOf(record));
      return errorReply(
        gatewayError('route_not_found', 'No finished request of yours has this id (the last 1 000 are kept).'),
      );
    }),
    get('/gateway/config', 'admin', () => jsonReply(effectiveConfig(options.config()))),
    ...(options.dashboard ?? plainPage(options.gateway.version)).map((file) =>
      get(file.path.replaceAll('.', '\\.'), 'open', (context) => fileFor(context, file, options)),
    ),
  ];
}

/** At `/` a browser gets the page, and a program a line of text. */
function fileFor(context: AdminContext, file: StaticFile, { gateway }: AdminOptions): Response {
  const known = context.req.header('if-none-match');
  if (file.path !== '/') return staticReply(file, known);
  if (context.req.header('accept')?.includes('text/html')) return staticReply(file, known, 'accept');
  const text = `vLLM Gateway ${gateway.version}\nState: /readyz, /gateway/status. Models: /v1/models. Metrics: /metrics. Browsers see a page here.\n`;
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache', vary: 'accept' };
  return new Response(text, { headers: { ...SECURITY_HEADERS, ...headers } });
}

/** What would happen, changing nothing: of all models, or of the one that is named. */
function planOf({ control, config }: AdminOptions, name: string | undefined): Response {
  if (name === undefined) return jsonReply(control.plan() satisfies PlanAnswer);
  const found = findModel(config(), name);
  return 'error' in found ? errorReply(found.error) : jsonReply(control.plan(found.model) satisfies PlanAnswer);
}

function readiness({ control }: AdminOptions): Response {
  const { ready, reasons } = control.health();
  const answer: ReadyAnswer = { status: ready ? 'ready' : 'not_ready', reasons: [...reasons] };
  return ready ? jsonReply(answer) : jsonReply(answer, 503, retryAfter(SECOND));
}

function requestAnswerOf(record: RequestRecord): RequestAnswer {
  return {
    id: record.id,
    key_id: record.keyId,
    method: record.method,
    route: record.route,
    model: record.model,
    stream: record.stream,
    status: record.status,
    outcome: record.outcome,
    code: record.code === '' ? null : record.code,
    replica: record.replica,
    started_at: new Date(record.startedAt).toISOString(),
    duration_ms: toMicrosecond(record.durationMs),
    first_byte_ms: toMicrosecond(record.firstByteMs),
    queue_ms: toMicrosecond(record.queueMs),
    cold_start_ms: toMicrosecond(record.coldStartMs),
    added_ms: toMicrosecond(record.addedMs),
    attempts: record.attempts,
    bytes_in: record.bytesIn,
    bytes_out: record.bytesOut,
    prompt_tokens: record.promptTokens,
    completion_tokens: record.completionTokens,
  };
}
