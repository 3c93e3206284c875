/** Another configuration under a gateway that runs: what goes on, what leaves, and who is told what. */
import { describe, expect, it } from 'vitest';
import { Clients, endOf, errorOf, tally, type Asking } from '../support/clients.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { goneWithoutTrace, openStream } from '../support/open-stream.ts';
import { model, note, refusedReload, reload } from '../support/reload.ts';
import {
  engineStats,
  HELD_START,
  metric,
  simulatedYaml,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilRunning,
  untilWaiting,
} from '../support/simulated-fleet.ts';

/** What two streams of one engine have in common when nobody touched them. */
const withoutIds = (text: string): string =>
  text.replaceAll(/"(id|system_fingerprint)":"[^"]*"/g, '').replaceAll(/"created":\d+/g, '');

describe('POST /gateway/reload', () => {
  it('says what would become different, and changes nothing in a dry run', async () => {
    await using gateway = await startFleet([model('stays'), model('goes')]);
    await gateway.rewrite(simulatedYaml([model('stays', 'max_queue_size: 7'), model('comes')], 'log: { level: warn }'));
    const answer = await reload(gateway, '?dry_run=true');
    expect(answer).toMatchObject({
      result: 'valid',
      dry_run: true,
      version: 1,
      diff: { keep: ['stays'], drain_and_restart: [], remove: ['goes'], add: ['comes'] },
    });
    expect(answer.diff?.changed).toEqual([
      { path: 'log.level', from: 'info', to: 'warn', rule: 'live' },
      { path: 'models.stays.max_queue_size', from: 200, to: 7, rule: 'live' },
    ]);
    expect(Object.keys((await statusOf(gateway)).models)).toEqual(['stays', 'goes']);
    expect((await statusOf(gateway)).config).toMatchObject({ version: 1, rejected_at: null });
    expect(await reload(gateway)).toMatchObject({ result: 'applied', version: 2, diff: answer.diff });
    expect((await statusOf(gateway)).config).toMatchObject({ version: 2, rejected_at: null });
    expect(await reload(gateway)).toMatchObject({ result: 'unchanged', version: 2 });
    expect(await metric(gateway, 'config_reloads_total', { result: 'applied' })).toBe(1);
    expect(await metric(gateway, 'config_reloads_total', { result: 'unchanged' })).toBe(1);
  });

  it('leaves the old configuration in force and names every problem of a new one that cannot be used [item 21] [B190] [I-94]', async () => {
    await using gateway = await startFleet([model('stays')]);
    const { loaded_at: since, problems: before } = (await statusOf(gateway)).config;
    for (const [yaml, ...paths] of [
      ['models: {', ''],
      ['models: {}', 'models'],
      ['', 'models'],
      [
        `${simulatedYaml([model('stays')])}\nlimits: { max_queue_size: 0, nonsense: 1 }`,
        'limits.max_queue_size',
        'limits.nonsense',
      ],
    ] as const) {
      await gateway.rewrite(yaml);
      const answer = await refusedReload(gateway);
      expect(answer).toMatchObject({ result: 'rejected', version: 1, diff: null });
      for (const path of paths)
        expect(answer.problems).toContainEqual(expect.objectContaining({ severity: 'error', path }));
      const { config, models } = await statusOf(gateway);
      expect(Object.keys(models)).toEqual(['stays']);
      expect(config).toMatchObject({ version: 1, loaded_at: since, problems: [...before, ...answer.problems] });
      expect(config.rejected_at).not.toBeNull();
      expect(await metric(gateway, 'config_problems')).toBe(before.length + answer.problems.length);
    }
    await using clients = new Clients(gateway.url);
    expect(endOf(await clients.chat('stays'))).toBe('200');
    await gateway.rewrite(simulatedYaml([model('stays')]));
    expect(await reload(gateway)).toMatchObject({ result: 'unchanged' });
    expect((await statusOf(gateway)).config).toMatchObject({ rejected_at: null, problems: before });
  });

  it('keeps what only a start can change, with a warning, and checks the new file against what stays', async () => {
    const keys = { keys: [{ id: 'owner', key: 'sk-owner', roles: ['admin'] }] };
    const models = { one: { repo: 'org/one', env: QUICK } };
    await using gateway = await startTestGateway({ yaml: gatewayYaml(models, { auth: keys }), adminKey: 'sk-owner' });
    await gateway.rewrite(gatewayYaml(models, { auth: keys, log: { format: 'pretty' }, devices: { probe: 'none' } }));
    const answer = await reload(gateway);
    const kept = answer.problems.filter(({ code }) => code === 'needs_restart');
    expect(kept.map(({ path, severity }) => `${severity} ${path}`)).toEqual([
      'warning drivers.process.port_range',
      'warning log.format',
      'warning devices.probe',
    ]);
    expect(answer.diff?.changed).toEqual([]);
  });

  it('is refused while the gateway ends', async () => {
    const gateway = await startFleet([model('one')]);
    const drained = gateway.gateway.drain();
    await expect(gateway.gateway.reload('signal')).rejects.toMatchObject({ error: { code: 'shutting_down' } });
    await drained;
    await gateway[Symbol.asyncDispose]();
  });
});

describe('a reload [F93]', () => {
  it('of 20 in a row cuts none of 100 streams of models that stay, nor changes a byte of them', async () => {
    await using gateway = await startFleet(
      [model('stays', 'max_concurrent: 128'), model('other')],
      'limits: { max_models_concurrent: 9 }',
    );
    await using clients = new Clients(gateway.url);
    const asking = { stream: true, nonce: 'same', fake: { tokens: 240, token_ms: 40 } };
    const reference = withoutIds((await clients.chat('stays', { ...asking, fake: { tokens: 240, token_ms: 0 } })).text);
    expect(reference).toContain('[DONE]');
    const streams = clients.chats(100, 'stays', () => asking);
    await untilRunning(gateway, 'stays', 100);
    for (let count = 1; count <= 20; count += 1) {
      const changing = count % 2 === 0 ? [model('other', `max_num_seqs: ${count}`)] : [model(`new-${count}`)];
      const stays = model(
        'stays',
        `max_concurrent: ${count % 3 === 0 ? 1 : 128}`,
        note(count),
        'request_defaults: { seed: 1 }',
      );
      await gateway.rewrite(simulatedYaml([...changing, stays], `limits: { max_models_concurrent: ${9 + count} }`));
      expect(await reload(gateway)).toMatchObject({ result: 'applied', version: count + 1 });
    }
    expect((await statusOf(gateway)).models['stays']?.in_flight).toBe(100);
    const ended = await streams;
    expect(
      tally(ended.map(({ text }) => (withoutIds(text) === reference ? 'equal' : withoutIds(text).slice(-300)))),
    ).toEqual({ equal: 100 });
    expect(new Set(ended.map(({ headers }) => headers['x-vgw-replica'])).size).toBe(1);
    await untilAtRest(gateway);
  });

  it('ends the tickets of a removed model with model_not_found, and lets its streams run to their end', async () => {
    await using gateway = await startFleet([
      model('stays'),
      { name: 'goes', keys: ['max_concurrent: 1'] },
      { name: 'cold', knobs: HELD_START },
    ]);
    await using clients = new Clients(gateway.url);
    const stream = await openStream(clients, 'goes', { tokens: 60, token_ms: 20 });
    const waiting = [
      ...(await openWaiting(gateway, clients, 'goes', 3)),
      ...(await openWaiting(gateway, clients, 'cold', 3)),
    ];
    await gateway.rewrite(simulatedYaml([model('stays')]));
    await reload(gateway);
    for (const answer of await Promise.all(waiting)) {
      expect(endOf(answer)).toBe('404 model_not_found');
      expect(errorOf(answer)['param']).toBe('model');
    }
    expect(endOf(await clients.chat('goes'))).toBe('404 model_not_found');
    expect((await clients.get('/v1/models')).text).not.toContain('goes');
    const { frames, broken } = await stream.end;
    expect([frames.at(-1)?.data, broken]).toEqual(['[DONE]', false]);
    await goneWithoutTrace(gateway, stream.replica);
    await untilAtRest(gateway);
    // It was counted under its name, which was a configured one.
    await until(async () =>
      expect(await metric(gateway, 'requests_total', { model: 'goes', outcome: 'completed' })).toBe(1),
    );
  });

  it('that changes what an engine is drains the old one beside its streams, and the next request gets the new one', async () => {
    await using gateway = await startFleet([model('one', 'max_concurrent: 4')]);
    await using clients = new Clients(gateway.url);
    const stream = await openStream(clients, 'one', { tokens: 60, token_ms: 20 });
    await gateway.rewrite(simulatedYaml([model('one', 'max_concurrent: 4', 'max_model_len: 4096')]));
    expect((await reload(gateway)).diff).toMatchObject({ keep: [], drain_and_restart: ['one'] });
    expect((await statusOf(gateway)).replicas[stream.replica]).toMatchObject({
      state: 'draining',
      stop_reason: 'reload',
    });
    const next = await clients.chat('one');
    expect(endOf(next)).toBe('200');
    expect(next.headers['x-vgw-replica']).not.toBe(stream.replica);
    expect((await stream.end).frames.at(-1)?.data).toBe('[DONE]');
    await goneWithoutTrace(gateway, stream.replica);
  });

  it('starts always_on models again, loads new ones that are to be preloaded, and keeps pins over a removal', async () => {
    await using gateway = await startFleet([model('always', 'always_on: true'), model('pinned')]);
    const ready = (name: string): Promise<void> =>
      until(async () => expect((await statusOf(gateway)).models[name]?.state).toBe('ready'));
    await gateway.post('/gateway/models/pinned/pin?wait=true', '');
    await ready('always');
    const before = (await statusOf(gateway)).models['always']?.replicas;
    await gateway.rewrite(
      simulatedYaml([model('always', 'always_on: true', 'max_model_len: 4096'), model('loaded', 'preload: true')]),
    );
    await reload(gateway);
    await ready('always');
    await ready('loaded');
    expect((await statusOf(gateway)).models['always']?.replicas).not.toEqual(before);
    await gateway.rewrite(simulatedYaml([model('always', 'always_on: true', 'max_model_len: 4096'), model('pinned')]));
    await reload(gateway);
    await ready('pinned');
    expect((await statusOf(gateway)).models['pinned']?.pinned_by).toBe('operator');
  });

  it('brings devices, and takes them away from what is started next, not from what runs there', async () => {
    const devices = (...ids: readonly string[]): string =>
      `devices: { probe: static, list: [${ids.map((id) => `{ id: ${id}, memory: 10GiB }`).join(', ')}] }`;
    const models = [model('one', 'memory: 8GiB'), model('two', 'memory: 8GiB')];
    await using gateway = await startFleet(models, devices('gpu-0'));
    await using clients = new Clients(gateway.url);
    const stream = await openStream(clients, 'one', { tokens: 120, token_ms: 20 });
    const waiting = await openWaiting(gateway, clients, 'two', 1);
    await gateway.rewrite(simulatedYaml(models, devices('gpu-0', 'gpu-1')));
    expect((await reload(gateway)).diff).toMatchObject({ keep: ['one', 'two'], drain_and_restart: [] });
    for (const answer of await Promise.all(waiting)) expect(endOf(answer)).toBe('200');
    const { replicas } = await statusOf(gateway);
    expect(Object.values(replicas).map(({ devices: on }) => on)).toEqual([['gpu-0'], ['gpu-1']]);
    await gateway.rewrite(simulatedYaml(models, devices('gpu-1')));
    await reload(gateway);
    expect((await statusOf(gateway)).replicas[stream.replica]).toMatchObject({ state: 'ready', devices: ['gpu-0'] });
    expect((await stream.end).frames.at(-1)?.data).toBe('[DONE]');
  });

  it('that takes slots away lets running requests end, and grants no more than the new slots', async () => {
    await using gateway = await startFleet([model('one', 'max_concurrent: 6')]);
    await using clients = new Clients(gateway.url);
    const running = await Promise.all(
      Array.from({ length: 6 }, () => openStream(clients, 'one', { tokens: 60, token_ms: 20 })),
    );
    const waiting = await openWaiting(gateway, clients, 'one', 6, { fake: { tokens: 5, token_ms: 20 } });
    await gateway.rewrite(simulatedYaml([model('one', 'max_concurrent: 2')]));
    await reload(gateway);
    const leases = async (): Promise<number> => (await statusOf(gateway)).models['one']?.in_flight ?? 0;
    expect(await leases()).toBe(6);
    for (const { end } of running) expect((await end).frames.at(-1)?.data).toBe('[DONE]');
    await until(async () => expect(await leases()).toBeLessThanOrEqual(2));
    let most = 0;
    let over = false;
    const watched = (async () => {
      while (!over) most = Math.max(most, await leases());
    })();
    expect(tally((await Promise.all(waiting)).map(endOf))).toEqual({ 200: 6 });
    over = true;
    await watched;
    expect(most).toBeLessThanOrEqual(2);
  });

  it('changes slots, queues and connections at once [item 21]', async () => {
    await using gateway = await startFleet([model('one', 'max_concurrent: 2', 'max_queue_size: 4')]);
    await using clients = new Clients(gateway.url);
    await clients.chat('one');
    const asking = { stream: true, fake: { tokens: 30, token_ms: 50 } };
    const first = clients.chats(6, 'one', () => asking);
    await untilWaiting(gateway, 'one', 4);
    expect(endOf(await clients.chat('one'))).toBe('429 queue_full');
    await gateway.rewrite(simulatedYaml([model('one', 'max_concurrent: 12', 'max_queue_size: 1')]));
    await reload(gateway);
    // More than the connections that the old slots had.
    const more = clients.chats(6, 'one', () => asking);
    await untilRunning(gateway, 'one', 12);
    expect((await engineStats(gateway, 'one')).running).toBe(12);
    const last = clients.chat('one', asking);
    await untilWaiting(gateway, 'one', 1);
    expect(endOf(await clients.chat('one'))).toBe('429 queue_full');
    expect(tally((await Promise.all([first, more])).flat().map(endOf))).toEqual({ 200: 12 });
    expect(endOf(await last)).toBe('200');
  });
});

/** So many requests that wait for this model. */
async function openWaiting(
  gateway: TestGateway,
  clients: Clients,
  name: string,
  count: number,
  asking: Asking = {},
): Promise<readonly ReturnType<Clients['chat']>[]> {
  const waiting = Array.from({ length: count }, () => clients.chat(name, asking));
  await untilWaiting(gateway, name, count);
  return waiting;
}
