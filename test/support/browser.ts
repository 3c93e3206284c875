/** Chromium, as it is installed, and what the dashboard tests do with a page. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type Page } from 'playwright-core';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PLACES = [
  process.env['CHROMIUM_PATH'] ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

export const chromiumPath = PLACES.find((path) => path !== '' && existsSync(path));

/** A laptop may go without; a run that decides about a change may not. */
export const withoutChromium = chromiumPath === undefined && process.env['CI'] !== 'true';

export function launchChromium(): Promise<Browser> {
  if (chromiumPath === undefined) throw new Error('no Chromium: install the package chromium, or set CHROMIUM_PATH');
  // Inside containers there is no user namespace for its sandbox; it only ever sees pages of these tests.
  return chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox', '--disable-gpu'] });
}

export interface Watched {
  readonly page: Page;
  /** What the console was told since the last look. */
  console(): readonly string[];
  close(): Promise<void>;
}

export interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: 'light' | 'dark';
}

/** A page in a profile of its own. */
export async function openPage(browser: Browser, url: string, look: Look = {}): Promise<Watched> {
  const context = await browser.newContext({
    viewport: { width: look.width ?? 1280, height: look.height ?? 860 },
    colorScheme: look.scheme ?? 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  let said: string[] = [];
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(`uncaught: ${error.message}`));
  await page.goto(url);
  return {
    page,
    console: () => {
      const heard = said;
      said = [];
      return heard;
    },
    close: () => context.close(),
  };
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly target: readonly string[]; readonly failureSummary?: string }[];
  }[];
}

/** Every rule of axe that the page breaks, with the place. */
export async function accessibilityProblems(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate<AxeResults>('axe.run(document)');
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary ?? ''}`),
  );
}

/** CSS pixels that a page is wider than its window. */
export function overhang(page: Page): Promise<number> {
  return page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}

/** Pictures for the documentation are being made. */
export const picturing = process.env['UPDATE_SCREENSHOTS'] === '1';

/** Into docs/images, where `UPDATE_SCREENSHOTS=1` asks for it; `part` is a selector, else it is what the window shows. */
export async function screenshot(page: Page, name: string, part?: string): Promise<void> {
  if (!picturing) return;
  const path = join(ROOT, 'docs/images', `${name}.png`);
  mkdirSync(dirname(path), { recursive: true });
  await page.evaluate('document.activeElement?.blur()');
  await (part === undefined ? page : page.locator(part)).screenshot({ path, animations: 'disabled' });
}
