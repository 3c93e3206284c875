/** The unit tests that the seed reviews asked for, by name, each seen from outside. */
import { describe, expect, it } from 'vitest';
import { CliBench } from '../support/cli-bench.ts';
import { Clients, endOf, errorOf, tally } from '../support/clients.ts';
import { startTestGateway } from '../support/in-process-gateway.ts';
import { ScriptedServer } from '../support/scripted-server.ts';
import {
  engineStats,
  HELD_START,
  letEngineGo,
  metric,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilRunning,
  untilWaiting,
} from '../support/simulated-fleet.ts';

/** Nobody listens there, and nobody is asked. */
const OUTSIDE = 'models:\n  outside: { url: "http://127.0.0.1:9" }';

interface Check {
  readonly ok: boolean;
  readonly problems: readonly { readonly severity: string; readonly path: string; readonly message: string }[];
  readonly effective: { readonly limits: Readonly<Record<string, unknown>> };
}

async function checked(
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number; readonly check: Check }> {
  const cli = new CliBench({ env });
  await cli.platform.files.writeAtomic('/srv/gateway.yaml', OUTSIDE);
  const code = await cli.run('check', '--json');
  return { code, check: JSON.parse(cli.out.text) as Check };
}

const VARIABLES = {
  GATEWAY_MAX_QUEUE_SIZE: { key: 'max_queue_size', fallback: 200, max: 10_000 },
  GATEWAY_MAX_CONCURRENT: { key: 'max_concurrent', fallback: 50, max: 10_000 },
  GATEWAY_MAX_MODELS_CONCURRENT: { key: 'max_models_concurrent', fallback: 3, max: 100 },
} as const;

const CLASSES = [
  ['zero', '0', false],
  ['negative', '-7', false],
  ['text', 'many', false],
  ['a fraction', '2.5', false],
  ['huge', '99999999999999999999', false],
  ['in range', '64', true],
] as const;

describe('configuration validation', () => {
  const cases = Object.keys(VARIABLES).flatMap((name) =>
    CLASSES.map(([kind, value, usable]) => [name as keyof typeof VARIABLES, kind, value, usable] as const),
  );

  it.each(cases)(
    '%s that is %s (%s) shows in check, status and metrics [S1] [S16]',
    async (name, _kind, value, usable) => {
      const { key, fallback, max } = VARIABLES[name];
      const inForce = usable ? Number(value) : fallback;
      await using gateway = await startTestGateway({ yaml: OUTSIDE, env: { [name]: value } });
      const { limits, config } = await statusOf(gateway);
      expect(limits[key]).toBe(inForce);
      expect(await metric(gateway, 'config_problems')).toBe(usable ? 0 : 1);
      const { code, check } = await checked({ [name]: value });
      expect(check.effective.limits[key]).toBe(inForce);
      expect(code).toBe(usable ? 0 : 1);
      expect(check.ok).toBe(usable);
      for (const problems of [config.problems, check.problems.filter(({ severity }) => severity !== 'info')]) {
        expect(problems.map(({ severity, path }) => [severity, path])).toEqual(usable ? [] : [['error', name]]);
        if (usable) continue;
        expect(problems[0]?.message).toContain(value);
        expect(problems[0]?.message).toContain(`from 1 to ${max}`);
        expect(problems[0]?.message).toContain(`the default ${fallback} is used`);
      }
    },
  );
});

describe('pool sizing', () => {
  it.each([
    [50, 3, 150],
    [1, 1, 1],
    [100, 10, 1_000],
  ])('(%i, %i) makes a pool of %i, all of it kept alive [S2] [S16]', async (concurrent, models, pool) => {
    const env = { GATEWAY_MAX_CONCURRENT: String(concurrent), GATEWAY_MAX_MODELS_CONCURRENT: String(models) };
    await using gateway = await startTestGateway({ yaml: OUTSIDE, env });
    const { limits } = await statusOf(gateway);
    expect(limits).toMatchObject({ max_in_flight: pool, http_pool_size: pool, http_keepalive_size: pool });
  });
});

describe('counter management', () => {
  it('an error while waiting for a slot: the start fails, and every place is given back [S7] [S16] [item 30]', async () => {
    await using gateway = await startFleet([
      { name: 'broken', knobs: { FAULT: 'bad_model_files' } },
      { name: 'sound' },
    ]);
    await using clients = new Clients(gateway.url);
    const [failed, answered] = await Promise.all([clients.chats(60, 'broken'), clients.chats(60, 'sound')]);
    expect(tally(failed.map(endOf))).toEqual({
      '503 model_start_failed': 60,
    });
    expect(failed.map((answer) => errorOf(answer)['cause'])).toEqual(Array.from({ length: 60 }, () => 'model_files'));
    expect(tally(answered.map(({ status }) => status))).toEqual({ 200: 60 });
    await untilAtRest(gateway);
    expect(await metric(gateway, 'requests_total')).toBe(120);
  });

  it('an error while waiting for a slot: the wait takes too long, and its place is given back once [S7] [S16] [item 36]', async () => {
    const keys = ['max_concurrent: 1', 'max_queue_size: 10'];
    await using gateway = await startFleet([{ name: 'slow', keys }], 'limits: { queue_timeout: 300ms }');
    await using clients = new Clients(gateway.url);
    await clients.chat('slow');
    const leave = new AbortController();
    const holding = clients.chat('slow', { fake: { fault: 'hang' }, signal: leave.signal }).catch(() => 'left');
    await untilRunning(gateway, 'slow', 1);

    const late = await clients.chats(5, 'slow');
    for (const answer of late) {
      expect(answer.status).toBe(503);
      expect(errorOf(answer)).toMatchObject({ code: 'queue_timeout', type: 'service_unavailable_error' });
      expect(Number(answer.headers['retry-after-ms'])).toBeGreaterThanOrEqual(1_000);
      expect(answer.tookMs).toBeGreaterThanOrEqual(290);
    }
    expect((await statusOf(gateway)).models['slow']).toMatchObject({ queued: 0, in_flight: 1 });
    expect(await metric(gateway, 'requests_total', { outcome: 'deadline', code: 'queue_timeout' })).toBe(5);
    const anthropic = await clients.chat('slow', { path: '/v1/messages' });
    expect(anthropic.status).toBe(529);
    expect(errorOf(anthropic)).toMatchObject({ code: 'queue_timeout', type: 'overloaded_error' });
    leave.abort();
    await holding;
    await untilAtRest(gateway);
  });

  it('an error right after the grant: the engine hangs up on the request, and the slot is free again [S7] [S16] [item 30]', async () => {
    await using engine = await ScriptedServer.listen((_response, _request, message) => {
      message.socket.resetAndDestroy();
    });
    await using gateway = await startTestGateway({
      yaml: `limits: { max_concurrent: 3, max_models_concurrent: 1 }\nmodels:\n  outside: { url: "${engine.url}" }`,
    });
    await using clients = new Clients(gateway.url);
    const answers = await clients.chats(30, 'outside', (index) => ({ stream: index % 2 === 0 }));
    expect(tally(answers.map(endOf))).toEqual({
      '502 upstream_lost': 30,
    });
    // Every connection was new, so that none of these may have been sent twice.
    expect(engine.seen).toHaveLength(30);
    await untilAtRest(gateway);
  });

  it('an abort while waiting: one place is given back, and the engine never hears of the request [S7] [S16] [items 31, 32]', async () => {
    const keys = ['max_concurrent: 1', 'max_queue_size: 20'];
    await using gateway = await startFleet([{ name: 'busy', keys }]);
    await using clients = new Clients(gateway.url);
    await clients.chat('busy');
    const holder = new AbortController();
    const holding = clients.chat('busy', { fake: { fault: 'hang' }, signal: holder.signal }).catch(() => 'left');
    await untilRunning(gateway, 'busy', 1);

    const leaving = Array.from({ length: 9 }, () => new AbortController());
    const left = leaving.map(({ signal }, index) =>
      clients.chat('busy', { nonce: `gone-${index}`, stream: index % 2 === 0, signal }).catch(() => 'left'),
    );
    await untilWaiting(gateway, 'busy', 9);
    const staying = clients.chats(3, 'busy', (index) => ({ nonce: `stays-${index}` }));
    await untilWaiting(gateway, 'busy', 12);
    for (const [index, one] of leaving.entries()) {
      one.abort();
      await untilWaiting(gateway, 'busy', 11 - index);
    }
    expect(await Promise.all(left)).toEqual(leaving.map(() => 'left'));

    holder.abort();
    await holding;
    const answers = await staying;
    expect(answers.map(({ text }, index) => text.includes(`nonce:stays-${index}`))).toEqual([true, true, true]);
    // The first, the one that held the slot, and those who stayed.
    expect(await engineStats(gateway, 'busy')).toMatchObject({ inference_requests: 5, aborted: 1, running: 0 });
    expect(await metric(gateway, 'requests_total', { outcome: 'client_closed' })).toBe(10);
    await untilAtRest(gateway);
  });

  it.each([
    ['plain', false],
    ['streamed', true],
  ] as const)(
    'an abort right after the grant of a %s answer ends the work of the engine and frees the slot [S7] [S16] [items 33, 34]',
    async (_what, stream) => {
      await using gateway = await startFleet([{ name: 'busy', keys: ['max_concurrent: 4', 'max_queue_size: 20'] }]);
      await using clients = new Clients(gateway.url);
      await clients.chat('busy');
      const leave = new AbortController();
      const left = Array.from({ length: 4 }, () =>
        clients.chat('busy', { stream, fake: { fault: 'hang' }, signal: leave.signal }).catch(() => 'left'),
      );
      await until(async () => expect((await engineStats(gateway, 'busy')).running).toBe(4));
      const next = clients.chats(4, 'busy', () => ({ stream }));
      await untilWaiting(gateway, 'busy', 4);
      leave.abort();

      expect(await Promise.all(left)).toEqual(['left', 'left', 'left', 'left']);
      expect(tally((await next).map(({ status }) => status))).toEqual({ 200: 4 });
      expect(await engineStats(gateway, 'busy')).toMatchObject({ running: 0, waiting: 0, aborted: 4 });
      await untilAtRest(gateway);
    },
  );

  it('an abort in the middle of a stream ends the work of the engine and frees the slot [S7] [S16] [items 28, 34]', async () => {
    await using gateway = await startFleet([{ name: 'busy', keys: ['max_concurrent: 1', 'max_queue_size: 20'] }]);
    await using clients = new Clients(gateway.url);
    await clients.chat('busy');
    const leave = new AbortController();
    const fake = { tokens: 100_000, token_ms: 20 };
    const { body } = await clients.open('busy', { stream: true, fake, signal: leave.signal });
    const pieces = body[Symbol.asyncIterator]();
    expect(String((await pieces.next()).value)).toMatch(/^data: /);
    // The head and some of the body are out: the slot is held until the last byte all the same.
    const next = clients.chat('busy');
    await untilWaiting(gateway, 'busy', 1);
    expect((await statusOf(gateway)).models['busy']).toMatchObject({ in_flight: 1 });
    leave.abort();
    await pieces.next().catch(() => undefined);

    expect((await next).status).toBe(200);
    expect(await engineStats(gateway, 'busy')).toMatchObject({ running: 0, aborted: 1 });
    expect(await metric(gateway, 'requests_total', { outcome: 'client_closed' })).toBe(1);
    await untilAtRest(gateway);
  });

  it('an abort during a cold start: the place is given back and the start goes on for the others [S7] [S16] [item 31]', async () => {
    await using gateway = await startFleet([{ name: 'cold', knobs: HELD_START }]);
    await using clients = new Clients(gateway.url);
    const leave = new AbortController();
    const left = Array.from({ length: 7 }, () => clients.chat('cold', { signal: leave.signal }).catch(() => 'left'));
    const stays = clients.chat('cold');
    await untilWaiting(gateway, 'cold', 8);
    leave.abort();
    await untilWaiting(gateway, 'cold', 1);
    expect(await Promise.all(left)).toEqual(Array.from({ length: 7 }, () => 'left'));
    await letEngineGo(gateway, 'cold');
    expect((await stays).status).toBe(200);
    expect(await engineStats(gateway, 'cold')).toMatchObject({ inference_requests: 1, aborted: 0 });
    await untilAtRest(gateway);
  });
});
