/**
 * A reload as an operator sees it: first what would become different, then, if that is wanted, the change. Nobody watches the
 * file of this gateway, so nothing changes behind the page; dashboard.test.ts shows a file that is watched.
 */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accessibilityProblems,
  launchChromium,
  openPage,
  overhang,
  screenshot,
  withoutChromium,
  type Watched,
} from '../support/browser.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { ENDLESS } from '../support/open-stream.ts';
import { reload } from '../support/reload.ts';
import { simulatedYaml, startFleet, statusOf, untilRunning, type SimulatedModel } from '../support/simulated-fleet.ts';

/** What Chromium itself says of a configuration that cannot be used; no page can keep it from that. */
const REFUSED = 'error: Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)';

const DEVICES = 'devices: { probe: simulated, list: [{ id: gpu-0, memory: 48GiB }] }';
const fleetOf = (limits: string, ...models: readonly SimulatedModel[]): string =>
  simulatedYaml(models, `${DEVICES}\nlimits: { ${limits} }`);

const small = (name: string, ...keys: readonly string[]): SimulatedModel => ({
  name,
  keys: ['memory: 12GiB', ...keys],
});
const qwen = small('qwen-7b');
const llama = small('llama-8b');

let gateway: TestGateway;
let browser: Browser;
let watched: Watched;

const fate = (title: string) =>
  watched.page.locator('.fates div', { has: watched.page.getByText(title, { exact: true }) });
const panel = (title: string | RegExp) =>
  watched.page.locator('.panel', { has: watched.page.getByRole('heading', { name: title }) });
const press = (name: string) => watched.page.getByRole('button', { name }).click();

describe.skipIf(withoutChromium)('the dashboard and the configuration', () => {
  beforeAll(async () => {
    [gateway, browser] = await Promise.all([
      startFleet([llama, qwen, small('mistral-7b')], `${DEVICES}\nlimits: { max_queue_size: 200 }`, {
        dashboard: true,
      }),
      launchChromium(),
    ]);
    watched = await openPage(browser, `${gateway.url}/#/config`);
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.[Symbol.asyncDispose]();
  });

  it('finds nothing to reload where the files say what is in force', async () => {
    await press('Reload …');
    await panel(/Nothing to reload/)
      .getByRole('button', { name: 'Close' })
      .click();
    expect(await watched.page.locator('.panel').count()).toBe(0);
    expect(watched.console()).toEqual([]);
  });

  it('shows what would become different and who would notice, and changes nothing by that', async () => {
    const leaving = new AbortController();
    const body = { model: 'qwen-7b', stream: true, messages: [{ role: 'user', content: 'Count.' }], fake: ENDLESS };
    const stream = await gateway.post('/v1/chat/completions', body, { signal: leaving.signal });
    expect(stream.status).toBe(200);
    await gateway.rewrite(
      fleetOf(
        'max_queue_size: 50',
        llama,
        { name: 'qwen-7b', keys: ['memory: 20GiB'] },
        small('gemma-2b', 'max_concurrent: 4'),
      ),
    );
    await press('Reload …');
    await panel('This would take the place of version 1').waitFor();
    await fate('Drain and restart').getByText('qwen-7b (1 request in flight)').waitFor();
    expect(await fate('Remove').textContent()).toContain('mistral-7b');
    expect(await fate('Add').textContent()).toContain('gemma-2b');
    expect(await fate('Keep').textContent()).toContain('llama-8b');
    const setting = watched.page.getByRole('row', { name: /^limits\.max_queue_size/ });
    expect(await setting.getByRole('cell').allTextContents()).toEqual(['200', '50', 'at once']);
    // Whoever cannot see hears it, and goes on from there with the keyboard.
    expect(await watched.page.evaluate('document.activeElement.id')).toBe('reload-title');
    for (const colorScheme of ['dark', 'light'] as const) {
      await watched.page.emulateMedia({ colorScheme });
      expect(await accessibilityProblems(watched.page), colorScheme).toEqual([]);
    }
    await screenshot(watched.page, 'reload', '.reload');
    await watched.page.setViewportSize({ width: 390, height: 844 });
    expect(await overhang(watched.page)).toBe(0);
    await watched.page.setViewportSize({ width: 1280, height: 860 });
    await press('Cancel');
    expect(await watched.page.evaluate('document.activeElement.textContent')).toBe('Reload …');
    const { config, models } = await statusOf(gateway);
    expect([config.version, Object.keys(models)]).toEqual([1, ['llama-8b', 'qwen-7b', 'mistral-7b']]);
    expect(models['qwen-7b']?.in_flight).toBe(1);
    leaving.abort();
    await untilRunning(gateway, 'qwen-7b', 0);
    expect(watched.console()).toEqual([]);
  });

  it('puts it in force when that is confirmed, with the keyboard alone', async () => {
    await watched.page.getByRole('button', { name: 'Reload …' }).focus();
    await watched.page.keyboard.press('Enter');
    const apply = watched.page.getByRole('button', { name: 'Put version 2 in force' });
    await apply.waitFor();
    // Whoever sees the panel is in it already, however slowly it was painted.
    expect(await watched.page.evaluate('document.activeElement.id')).toBe('reload-title');
    // From the heading over the table of settings, which can be scrolled, to the button.
    for (let step = 0; step < 2; step += 1) await watched.page.keyboard.press('Tab');
    expect(await watched.page.evaluate('document.activeElement.textContent')).toBe('Put version 2 in force');
    await watched.page.keyboard.press('Enter');
    await panel('Version 2 is in force').waitFor();
    expect((await statusOf(gateway)).config.version).toBe(2);
    await watched.page.goto(`${gateway.url}/#/overview`);
    await watched.page.locator('.model', { hasText: 'gemma-2b' }).waitFor();
    expect(await watched.page.locator('.model', { hasText: 'mistral-7b' }).count()).toBe(0);
    await watched.page.locator('.decisions', { hasText: 'config reloaded' }).waitFor();
    expect(watched.console()).toEqual([]);
  });

  it('looks again by itself when somebody else was faster', async () => {
    await gateway.rewrite(fleetOf('max_queue_size: 60', llama));
    await watched.page.goto(`${gateway.url}/#/config`);
    await press('Reload …');
    await panel('This would take the place of version 2').waitFor();
    expect(await reload(gateway)).toMatchObject({ result: 'applied', version: 3 });
    await panel('Nothing to reload: the files say what is in force, version 3').waitFor();
    expect(watched.console()).toEqual([]);
  });

  it('says it when the files were changed between the look and the confirmation', async () => {
    await gateway.rewrite(fleetOf('max_queue_size: 70', llama));
    await press('Reload …');
    await panel('This would take the place of version 3').waitFor();
    await gateway.rewrite(fleetOf('max_queue_size: 80', llama));
    await press('Put version 4 in force');
    await panel('Version 4 is in force').getByText('changed once more').waitFor();
    expect(await watched.page.getByRole('row', { name: /^limits\.max_queue_size/ }).textContent()).toContain('80');
    await gateway.rewrite(fleetOf('max_queue_sise: 80', llama));
    await press('Reload …');
    await panel('This cannot be used; version 4 stays in force').getByText('did you mean "max_queue_size"?').waitFor();
    // Only a look: nobody else is told of it.
    expect((await statusOf(gateway)).config).toMatchObject({ version: 4, rejected_at: null });
    expect(await accessibilityProblems(watched.page)).toEqual([]);
    expect(watched.console().filter((line) => line !== REFUSED)).toEqual([]);
  });

  it('fits a phone, whatever models are called', async () => {
    const name = 'somebody/A-Model-Whose-Name-Was-Chosen-Without-A-Thought-Of-Those-Who-Read-It-On-A-Phone-v0.1-AWQ';
    await gateway.rewrite(fleetOf('max_queue_size: 90', llama, small(`"${name}"`)));
    expect(await reload(gateway)).toMatchObject({ result: 'applied', version: 5 });
    await watched.page.setViewportSize({ width: 390, height: 844 });
    await watched.page.goto(`${gateway.url}/#/overview`);
    await press(`Load ${name}`);
    const row = watched.page.locator('.model', { hasText: name });
    await row.getByText('ready', { exact: true }).waitFor();
    for (const view of ['overview', `plan/${encodeURIComponent(name)}`, 'events', 'logs', 'chat', 'config']) {
      await watched.page.goto(`${gateway.url}/#/${view}`);
      await watched.page.locator('main section').first().waitFor();
      if (view.startsWith('plan')) await watched.page.locator('.verdict').waitFor();
      expect(await overhang(watched.page), view).toBe(0);
    }
    expect(watched.console()).toEqual([]);
  });
});
