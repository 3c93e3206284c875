/** The dashboard in a real browser, before real processes. One gateway and one browser: the steps build on each other. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accessibilityProblems,
  launchChromium,
  openPage,
  overhang,
  screenshot,
  withoutChromium,
} from '../support/browser.ts';
import type { Watched } from '../support/browser.ts';
import { DashboardFleet } from '../support/dashboard-fleet.ts';

const VIEWS = ['overview', 'plan/mistral-7b', 'events', 'logs', 'chat', 'config'];
/** What Chromium itself says of requests that nobody answers; no page can keep it from that. */
const NOBODY_ANSWERS = /^error: Failed to load resource: net::ERR_/;

let fleet: DashboardFleet;
let browser: Browser;
let watched: Watched;

const row = (model: string) => watched.page.locator('.model', { hasText: model });
const visit = (view: string) => watched.page.goto(`${fleet.url}/#/${view}`);

describe.skipIf(withoutChromium)('the dashboard', () => {
  beforeAll(async () => {
    [fleet, browser] = await Promise.all([DashboardFleet.start(), launchChromium()]);
    watched = await openPage(browser, fleet.url);
  });

  afterAll(async () => {
    await browser?.close();
    await fleet?.[Symbol.asyncDispose]();
  });

  it('shows a cold start as it goes on, from a click to an engine that is ready', async () => {
    await row('llama-8b').getByText('cold').waitFor();
    await row('llama-8b').getByRole('button', { name: 'Load llama-8b' }).click();
    await row('llama-8b').getByText('starting').waitFor();
    await row('llama-8b').getByRole('progressbar').waitFor();
    await watched.page.locator('.memory i.coming', { hasText: 'llama-8b' }).waitFor();
    await row('llama-8b').getByText('ready').waitFor();
    await watched.page.locator('.memory i.engine', { hasText: 'llama-8b' }).waitFor();
    await watched.page.locator('.decisions', { hasText: 'Ready after' }).waitFor();
    expect(watched.console()).toEqual([]);
  });

  it('chats with a model, streamed, and draws what that was', async () => {
    await visit('chat/qwen-7b');
    await watched.page.getByLabel('Message').fill('What does a gateway do?');
    await watched.page.keyboard.press('Enter');
    await watched.page.getByText('all after').waitFor();
    expect((await watched.page.locator('.messages .assistant div').textContent())?.length).toBeGreaterThan(20);
    await screenshot(watched.page, 'chat');
    await visit('overview');
    await watched.page.locator('.plot', { hasText: 'Tokens' }).getByText('peak').waitFor();
    expect(watched.console()).toEqual([]);
  });

  it('says before what would leave, and after why it left', async () => {
    await visit('plan/mistral-7b');
    await watched.page.getByText('llama-8b leaves').waitFor();
    await screenshot(watched.page, 'plan');
    expect(await fleet.stateOf('llama-8b')).toBe('ready');
    await visit('overview');
    await row('mistral-7b').getByRole('button', { name: 'Load mistral-7b' }).click();
    await row('mistral-7b').getByRole('progressbar').waitFor();
    await screenshot(watched.page, 'swap');
    await row('mistral-7b').getByText('ready').waitFor();
    await row('llama-8b').getByText('cold').waitFor();
    await visit('events/llama-8b');
    await watched.page.locator('.decisions .reason', { hasText: 'mistral-7b' }).first().waitFor();
    expect(watched.console()).toEqual([]);
  });

  it('says why an engine failed, where the model is and among the events', async () => {
    await fleet.send('unload', 'qwen-7b');
    await visit('overview');
    await row('broken-1b').getByRole('button', { name: 'Load broken-1b' }).click();
    await row('broken-1b').getByText('model files').waitFor();
    await watched.page.locator('.decisions', { hasText: 'start failed' }).waitFor();
    await screenshot(watched.page, 'failure');
    await row('broken-1b').getByRole('link', { name: 'Log of the failure of broken-1b' }).click();
    await watched.page.locator('.lines', { hasText: 'LocalEntryNotFoundError' }).waitFor();
    expect(await watched.page.getByLabel('Engine').inputValue()).toMatch(/^broken-1b-[0-9a-f]{6}$/);
    expect(watched.console()).toEqual([]);
  });

  it('pins and unpins with the keyboard alone', async () => {
    await visit('overview');
    const pin = row('mistral-7b').getByRole('button', { name: 'Pin mistral-7b' });
    await pin.focus();
    await watched.page.keyboard.press('Enter');
    await row('mistral-7b').getByText('pinned').waitFor();
    const unpin = row('mistral-7b').getByRole('button', { name: 'Unpin mistral-7b' });
    await unpin.focus();
    await watched.page.keyboard.press('Space');
    await row('mistral-7b').getByRole('button', { name: 'Pin mistral-7b', exact: true }).waitFor();
    await visit('overview');
    await watched.page.reload();
    await watched.page.keyboard.press('Tab');
    expect(await watched.page.evaluate<string>('document.activeElement.textContent')).toContain('Skip to content');
    expect(watched.console()).toEqual([]);
  });

  it('follows the log of an engine', async () => {
    await visit('logs');
    await watched.page.locator('.lines', { hasText: 'Application startup complete' }).waitFor();
    await fetch(`${fleet.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model: 'mistral-7b', messages: [{ role: 'user', content: 'Hello' }] }),
    });
    await watched.page.locator('.lines', { hasText: 'POST /v1/chat/completions' }).waitFor();
    await screenshot(watched.page, 'logs');
    expect(watched.console()).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('breaks no rule of accessibility in any view, when it is %s', async (scheme) => {
    const other = await openPage(browser, fleet.url, { scheme });
    for (const view of VIEWS) {
      await other.page.goto(`${fleet.url}/#/${view}`);
      await other.page.locator('main section').first().waitFor();
      if (view.startsWith('plan')) await other.page.locator('.verdict').waitFor();
      if (view === 'logs') await other.page.locator('.lines', { hasText: 'startup complete' }).waitFor();
      expect(await accessibilityProblems(other.page), view).toEqual([]);
    }
    await other.page.getByRole('button', { name: /Operator/ }).click();
    await other.page.getByLabel('API key or admin key').waitFor();
    expect(await accessibilityProblems(other.page), 'key').toEqual([]);
    await other.page.keyboard.press('Escape');
    await other.page.goto(`${fleet.url}/#/overview`);
    await other.page.locator('.decisions').waitFor();
    expect(other.console()).toEqual([]);
    await other.close();
  });

  it('takes a changed file by itself, and tells plainly of one that cannot be used until it is mended', async () => {
    await visit('overview');
    await fleet.rewrite(({ limits }) => {
      limits['max_queue_size'] = 50;
    });
    await watched.page.locator('.decisions', { hasText: 'config reloaded' }).waitFor();
    await fleet.rewrite(({ limits, models }) => {
      limits['max_queue_sise'] = 60;
      models['qwen-7b'] = { ...models['qwen-7b'], memory: 'much' };
    });
    const note = watched.page.getByRole('region', { name: 'Problems of the configuration' });
    await note.getByText('version 2 stays in force').waitFor();
    await note
      .getByText(/^gateway\.yaml:\d+:\d+$/)
      .first()
      .waitFor();
    await note.getByText('did you mean "max_queue_size"?').waitFor();
    expect(await accessibilityProblems(watched.page)).toEqual([]);
    await note.getByRole('link', { name: 'Configuration' }).click();
    await watched.page.getByText('last change refused').waitFor();
    await watched.page.locator('.problem-list', { hasText: 'models.qwen-7b.memory' }).waitFor();
    for (const colorScheme of ['dark', 'light'] as const) {
      await watched.page.emulateMedia({ colorScheme });
      expect(await accessibilityProblems(watched.page), colorScheme).toEqual([]);
    }
    await screenshot(watched.page, 'rejected');
    // What was in force serves on.
    expect(await fleet.stateOf('mistral-7b')).toBe('ready');
    await fleet.rewrite(({ limits, models }) => {
      delete limits['max_queue_sise'];
      models['qwen-7b'] = { ...models['qwen-7b'], memory: '20GiB', aliases: ['qwen'] };
    });
    await watched.page.getByText('It has no problems').waitFor();
    await visit('overview');
    await row('qwen-7b').getByText('qwen', { exact: true }).waitFor();
    expect(await note.count()).toBe(0);
    expect(watched.console()).toEqual([]);
  });

  it('fits a phone: no view is wider than 390 pixels', async () => {
    const phone = await openPage(browser, fleet.url, { width: 390, height: 844 });
    for (const view of VIEWS) {
      await phone.page.goto(`${fleet.url}/#/${view}`);
      await phone.page.locator('main section').first().waitFor();
      if (view.startsWith('plan')) await phone.page.locator('.verdict').waitFor();
      if (view === 'overview') await screenshot(phone.page, 'phone');
      expect(await overhang(phone.page), view).toBe(0);
    }
    expect(phone.console()).toEqual([]);
    await phone.close();
  });

  it('keeps the chosen colours', async () => {
    await visit('overview');
    await watched.page.getByLabel('Colours').selectOption('dark');
    await watched.page.reload();
    await watched.page.locator('.models').waitFor();
    expect(await watched.page.evaluate('document.documentElement.dataset.theme')).toBe('dark');
    await watched.page.getByLabel('Colours').selectOption('auto');
  });

  it('survives a restart of the gateway, and says so meanwhile', async () => {
    const status = watched.page.locator('header [role=status]');
    await status.getByText('ready').waitFor();
    await watched.page.evaluate('globalThis.sameDocument = true');
    await fleet.stop();
    await status.getByText('reconnecting, as last heard').waitFor();
    // What was known last stays in sight.
    expect(await watched.page.locator('.model').count()).toBe(4);
    await screenshot(watched.page, 'reconnecting');
    await watched.page.setViewportSize({ width: 390, height: 844 });
    expect(await overhang(watched.page)).toBe(0);
    await watched.page.setViewportSize({ width: 1280, height: 860 });
    await fleet.startAgain();
    await status.getByText('ready').waitFor();
    await row('mistral-7b').getByText('cold').waitFor();
    await row('llama-8b').getByRole('button', { name: 'Load llama-8b' }).click();
    await row('llama-8b').getByText('ready').waitFor();
    expect(await watched.page.evaluate('globalThis.sameDocument')).toBe(true);
    expect(watched.console().filter((line) => !NOBODY_ANSWERS.test(line))).toEqual([]);
  });
});
