/** Every byte of a device has an owner, and the page names it. The devices are pretended, and really read. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, openPage, picturing, screenshot, withoutChromium, type Watched } from '../support/browser.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { watchedGpus, type WatchedGpus, type WatchedModel } from '../support/watched-gpus.ts';

const OTHERS_MIB = 4_096;
/** Two or three numbers, each told to a tenth of a GiB. */
const NEAR_MIB = 160;

/** Much KV cache, and a start that can be watched. */
const models: readonly WatchedModel[] = [
  { name: 'llama-8b', keys: { aliases: ['gpt-4o-mini'], max_num_seqs: 64 } },
  { name: 'qwen-7b', keys: { max_num_seqs: 32 } },
  { name: 'mistral-7b', knobs: { START_MS: picturing ? 16_000 : 3_000 } },
].map((model) => ({ ...model, knobs: { TOKEN_MS: 10, TTFT_MS: 40, ...model.knobs } }));

let gpus: WatchedGpus;
let gateway: TestGateway;
let browser: Browser;
let watched: Watched;

const device = (index: number) => watched.page.locator('.device', { hasText: gpus.uuids[index] ?? '' });
const owner = (index: number, label: string) => device(index).locator('.owners li', { hasText: label });
const load = (model: string) => watched.page.getByRole('button', { name: `Load ${model}` }).click();

/** MiB that the page says such an owner holds. */
async function told(index: number, label: string): Promise<number> {
  const text = (await owner(index, label).locator('.number').textContent()) ?? '';
  const [, number = '', unit = ''] = /^([\d.]+) ?(GiB|MiB)?$/.exec(text) ?? [];
  return Number(number) * (unit === 'GiB' ? 1_024 : 1);
}

/** So that pictures for the documentation have something to show. */
async function someTraffic(): Promise<void> {
  for (let round = 0; round <= 40; round += 1) {
    const ask = (model: string, tokens: number): Promise<unknown> =>
      gateway
        .post('/v1/chat/completions', { model, messages: [{ role: 'user', content: 'Tell.' }], fake: { tokens } })
        .then((answer) => answer.text());
    const many = 20 + Math.round(14 * Math.sin(round / 4));
    await Promise.all([
      ask('llama-8b', many),
      ask('qwen-7b', 8),
      ...(round % 3 === 0 ? [] : [ask('llama-8b', many / 2)]),
    ]);
  }
}

describe.skipIf(withoutChromium)('the dashboard and the memory of devices', () => {
  beforeAll(async () => {
    gpus = watchedGpus('5a1f0c77-93bb-4f58-8f1e-0d6f2a7c9e', [24, 24]);
    gpus.tenant(1, OTHERS_MIB);
    [gateway, browser] = await Promise.all([
      startTestGateway({ yaml: gpus.yaml(models), env: gpus.env, dashboard: true }),
      launchChromium(),
    ]);
    watched = await openPage(browser, gateway.url);
  });

  afterAll(async () => {
    await browser?.close();
    await gateway?.[Symbol.asyncDispose]();
    gpus?.[Symbol.dispose]();
  });

  it('names weights, KV cache, other programs, and what is free or above the budget, as they are read', async () => {
    await load('llama-8b');
    await owner(0, 'llama-8b KV cache').waitFor();
    const [used = 0] = gpus.used();
    const engine = (await told(0, 'weights and runtime')) + (await told(0, 'KV cache'));
    expect(Math.abs(engine - used)).toBeLessThan(NEAR_MIB);
    const free = await told(0, 'free');
    expect(Math.abs(engine + free + (await told(0, 'above the budget')) - 24 * 1_024)).toBeLessThan(NEAR_MIB);
    expect(await told(1, 'other programs')).toBe(OTHERS_MIB);
    expect(await owner(1, 'free').count()).toBe(1);
    // The bar is filled from one end to the other.
    for (const index of [0, 1]) {
      const [bar, ...parts] = await device(index)
        .locator('.memory, .memory i')
        .evaluateAll((elements) => elements.map((element) => element.getBoundingClientRect().width));
      expect(Math.abs(parts.reduce((sum, width) => sum + width, 0) - (bar ?? 0)), `device ${index}`).toBeLessThan(4);
    }
    expect(watched.console()).toEqual([]);
  });

  it('shows what is reserved for an engine that starts, its phase, and once that was learned, when it will be ready', async () => {
    const row = watched.page.locator('.model', { hasText: 'mistral-7b' });
    await load('qwen-7b');
    await owner(1, 'qwen-7b KV cache').waitFor();
    await load('mistral-7b');
    await owner(1, 'mistral-7b starting').waitFor();
    await row.getByRole('progressbar').waitFor();
    await row.getByText('ready', { exact: true }).waitFor();
    expect(await owner(1, 'mistral-7b starting').count()).toBe(0);
    await watched.page.getByRole('button', { name: 'Unload mistral-7b' }).click();
    await row.getByText('cold').waitFor();
    await load('mistral-7b');
    // Both at one moment: such a start is soon over. A bar that does not know how far it is would be indeterminate.
    const known = row.locator('.step', { has: watched.page.locator('progress:not(:indeterminate)') });
    await known.getByText(/ready in about \d+ s/).waitFor();
    if (picturing) await Promise.all([someTraffic(), row.getByText('loading weights').waitFor()]);
    await screenshot(watched.page, 'overview-light');
    await watched.page.emulateMedia({ colorScheme: 'dark' });
    await screenshot(watched.page, 'overview-dark');
    await watched.page.emulateMedia({ colorScheme: 'light' });
    await row.getByText('ready', { exact: true }).waitFor();
    expect(watched.console()).toEqual([]);
  });
});
