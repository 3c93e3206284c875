/** Who may do what, as a browser sees it: without a key, with one, and from a page of another origin. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessibilityProblems, launchChromium, openPage, screenshot, withoutChromium } from '../support/browser.ts';
import { DashboardFleet } from '../support/dashboard-fleet.ts';
import { freePort } from '../support/fake-vllm.ts';

const ADMIN_KEY = 'browser-admin-key-0123456789';
/** What Chromium itself says of answers with such a status; no page can keep it from that. */
const REFUSED = 'error: Failed to load resource: the server responded with a status of 401 (Unauthorized)';

let browser: Browser;

/** Anything: what its script does is what is tested. */
async function foreignPage(): Promise<Server> {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end('<!doctype html><title>Another site</title>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** What a page can send without asking first, and what it can send after asking; whether it could read any of it. */
const attack = (target: string): string => `(async () => {
  const readable = [];
  const chat = JSON.stringify({ model: 'llama-8b', messages: [{ role: 'user', content: 'x' }] });
  const tries = [
    ['/gateway/models/llama-8b/load', 'POST', undefined],
    ['/gateway/models/mistral-7b/unload', 'POST', undefined],
    ['/gateway/models/llama-8b/pin', 'POST', undefined],
    ['/gateway/reload', 'POST', undefined],
    ['/v1/chat/completions', 'POST', chat],
    ['/gateway/status', 'GET', undefined],
    ['/gateway/events', 'GET', undefined],
    ['/v1/models', 'GET', undefined],
  ];
  for (const [path, method, body] of tries) {
    for (const mode of ['no-cors', 'cors']) {
      const signal = AbortSignal.timeout(3000);
      const answer = await fetch(${JSON.stringify(target)} + path, { method, body, mode, signal }).catch(() => null);
      if (answer && answer.type !== 'opaque') readable.push(path);
    }
  }
  const form = document.createElement('form');
  form.method = 'post';
  form.target = 'frame';
  form.action = ${JSON.stringify(target)} + '/gateway/models/llama-8b/load';
  const frame = document.createElement('iframe');
  frame.name = 'frame';
  document.body.append(frame, form);
  const loaded = new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }));
  form.submit();
  await Promise.race([loaded, new Promise((resolve) => setTimeout(resolve, 3000))]);
  return readable;
})()`;

describe.skipIf(withoutChromium)('the dashboard and who may do what', () => {
  beforeAll(async () => {
    browser = await launchChromium();
  });

  afterAll(async () => {
    await browser?.close();
  });

  it('lets no page of another origin load, unload, infer or read, though the browser runs on the same machine', async () => {
    await using fleet = await DashboardFleet.start();
    await fleet.send('load', 'mistral-7b');
    const before = await fleet.decisions();
    const foreign = await foreignPage();
    const { port } = foreign.address() as AddressInfo;
    for (const host of ['localhost', '127.0.0.1']) {
      const visitor = await openPage(browser, `http://${host}:${port}/`);
      expect(await visitor.page.evaluate<readonly string[]>(attack(fleet.url)), host).toEqual([]);
      await visitor.close();
    }
    foreign.close();
    expect(await fleet.stateOf('llama-8b')).toBe('cold');
    expect(await fleet.stateOf('mistral-7b')).toBe('ready');
    expect(await fleet.decisions()).toBe(before);
    expect(await fleet.reloads()).toBe(0);
    // The page of the gateway itself may do all of that.
    const own = await openPage(browser, fleet.url);
    await own.page.getByRole('button', { name: 'Unload mistral-7b' }).click();
    await own.page.locator('.model', { hasText: 'mistral-7b' }).getByText('cold').waitFor();
    await own.page.goto(`${fleet.url}/#/config`);
    await own.page.getByRole('button', { name: 'Reload …' }).click();
    await own.page.getByRole('heading', { name: /Nothing to reload/ }).waitFor();
    expect(own.console()).toEqual([]);
    await own.close();
    expect(await fleet.reload()).toBe(200);
    expect(await fleet.reloads()).toBe(1);
  });

  it('only looks without the admin key, says so in place, and steers with it', async () => {
    await using fleet = await DashboardFleet.start({ GATEWAY_AUTH: 'none', GATEWAY_ADMIN_KEY: ADMIN_KEY });
    const { page, ...watched } = await openPage(browser, fleet.url);
    await page.getByRole('button', { name: /Read-only/ }).waitFor();
    await page.getByRole('button', { name: 'Load llama-8b' }).click();
    await page.getByRole('alert').getByText('need an admin key').waitFor();
    expect(await accessibilityProblems(page)).toEqual([]);
    await page.goto(`${fleet.url}/#/config`);
    await page.getByRole('button', { name: 'Reload …' }).click();
    await page.getByRole('alert').getByText('Reloading needs an admin key').waitFor();
    expect(await page.getByText('Everything in force').count()).toBe(0);
    await page.getByRole('alert').getByRole('button', { name: 'Enter a key' }).click();
    await page.getByLabel('API key or admin key').fill(ADMIN_KEY);
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: /Operator/ }).waitFor();
    await page.getByRole('button', { name: 'Reload …' }).click();
    await page.getByRole('heading', { name: /Nothing to reload/ }).waitFor();
    await page.goto(`${fleet.url}/#/overview`);
    await page.getByRole('button', { name: 'Load llama-8b' }).click();
    await page.locator('.model', { hasText: 'llama-8b' }).getByText('ready').waitFor();
    expect(await page.evaluate('Object.values(sessionStorage)')).toEqual([ADMIN_KEY]);
    expect(
      await page.evaluate('[...Object.values(localStorage), document.cookie, location.href].join(" ")'),
    ).not.toContain(ADMIN_KEY);
    expect(watched.console()).toEqual([]);
    await watched.close();
  });

  it('says where the control plane is when it is elsewhere, and works there', async () => {
    const port = await freePort();
    await using fleet = await DashboardFleet.start({}, port);
    const { page, ...watched } = await openPage(browser, fleet.url);
    await page.getByRole('heading', { name: 'The control plane is elsewhere' }).waitFor();
    await page.goto(`http://127.0.0.1:${port}/`);
    await page.getByRole('button', { name: 'Load llama-8b' }).waitFor();
    expect(watched.console().filter((line) => !line.includes('404 (Not Found)'))).toEqual([]);
    await watched.close();
  });

  it('asks for a key where the gateway does, and shows nothing before', async () => {
    await using fleet = await DashboardFleet.start({
      GATEWAY_API_KEYS: 'inference-key-1',
      GATEWAY_ADMIN_KEY: ADMIN_KEY,
    });
    const { page, ...watched } = await openPage(browser, fleet.url);
    await page.getByRole('heading', { name: 'This gateway asks for a key' }).waitFor();
    expect(await page.getByText('llama-8b').count()).toBe(0);
    await screenshot(page, 'key-needed');
    for (const colorScheme of ['dark', 'light'] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await accessibilityProblems(page), colorScheme).toEqual([]);
    }
    const enter = async (key: string): Promise<void> => {
      await page.locator('.refused').getByRole('button', { name: 'Enter a key' }).click();
      await page.getByLabel('API key or admin key').fill(key);
      await page.keyboard.press('Enter');
    };
    await enter('inference-key-1');
    await page.getByRole('heading', { name: 'This key may not look here' }).waitFor();
    await page.goto(`${fleet.url}/#/chat`);
    await page.getByLabel('Model').getByText('qwen-7b').waitFor({ state: 'attached' });
    await page.goto(`${fleet.url}/#/overview`);
    await enter(ADMIN_KEY);
    await page.getByRole('button', { name: 'Load llama-8b' }).waitFor();
    expect(watched.console().filter((line) => line !== REFUSED && !line.includes('403 (Forbidden)'))).toEqual([]);
    await watched.close();
  });
});
