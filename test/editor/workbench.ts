/** One window of the editor, worked by keyboard and pointer as a person would. */
import { chromium, type Browser, type FrameLocator, type Locator, type Page } from 'playwright-core';
import { editor } from '../../scripts/install-editor.mjs';
import type { Server } from './server.js';

/** Containers have no sandbox and no graphics adapter. */
const CHROMIUM = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** What any window complains of that cannot reach an extension gallery. */
const UNRELATED = /ERR_NAME_NOT_RESOLVED|status of 404|open-vsx|gallery|product icon|ERR_ABORTED/i;

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: editor.chromium, headless: true, args: CHROMIUM });

export interface Workbench {
  readonly page: Page;
  /** Errors on the console since the window opened; those of the page's policy are among them. */
  readonly errors: readonly string[];
  /** Runs a command from the palette. */
  run(title: string): Promise<void>;
  /** Types into the open quick input, and accepts. */
  type(text: string): Promise<void>;
  /** Picks an entry of the open quick pick. */
  pick(label: string | RegExp): Promise<void>;
  /** Ticks exactly these entries of a quick pick that allows several, and accepts. */
  pickSeveral(labels: readonly (string | RegExp)[]): Promise<void>;
  notification(text: string | RegExp): Locator;
  /** Opens the extension's container. */
  openSidebar(): Promise<void>;
  /** A view of the sidebar by its title, opened if it is folded up. */
  view(title: string): Promise<Locator>;
  /** The page within the active webview, whose tab has this title. */
  webview(tab: string | RegExp): Promise<FrameLocator>;
  /** Reloads the window, as *Developer: Reload Window* does. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

export async function openWorkbench(
  browser: Browser,
  server: Server,
  folder: string | undefined,
  options: {
    readonly width?: number;
    readonly height?: number;
    readonly query?: Record<string, string>;
  } = {},
): Promise<Workbench> {
  const { width = 1280, height = 860 } = options;
  const context = await browser.newContext({ viewport: { width, height } });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const page = await context.newPage();
  // A busy machine needs them; nothing waits longer than it must.
  page.setDefaultTimeout(60_000);
  const errors: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !UNRELATED.test(message.text())) errors.push(message.text());
  });
  const url = new URL(server.url);
  if (folder === undefined) url.searchParams.set('ew', 'true');
  else url.searchParams.set('folder', folder);
  for (const [key, value] of Object.entries(options.query ?? {})) url.searchParams.set(key, value);
  await page.goto(url.href, { waitUntil: 'commit' });
  const ready = () => page.locator('.monaco-workbench .part.statusbar').waitFor({ timeout: 180_000 });
  await ready();

  const input = page.locator('.quick-input-widget input[type="text"]');
  const entry = (label: string | RegExp) =>
    page
      .locator('.quick-input-widget .monaco-list-row')
      .filter({ has: page.locator('.label-name').getByText(label, { exact: true }) })
      .first();

  const pane = (title: string) =>
    page
      .locator('.split-view-view')
      .filter({ has: page.locator('.pane-header .title').getByText(title, { exact: true }) });

  return {
    page,
    errors,
    async run(title) {
      // The list of an open palette stays as it is: before the extension is known it never finds its commands.
      for (let tries = 0; ; tries++) {
        await page.keyboard.press('F1');
        await input.waitFor({ state: 'visible' });
        await input.fill(`>${title}`);
        try {
          await entry(title).click({ timeout: 3000 });
          return;
        } catch (error) {
          if (tries === 10) throw error;
          await page.keyboard.press('Escape');
          await input.waitFor({ state: 'hidden' });
        }
      }
    },
    async type(text) {
      await input.waitFor({ state: 'visible' });
      await input.fill(text);
      await input.press('Enter');
    },
    async pick(label) {
      await entry(label).click();
    },
    async pickSeveral(labels) {
      await entry(labels[0]!).waitFor();
      const rows = page.locator('.quick-input-widget .monaco-list-row');
      for (const row of await rows.all()) {
        const box = row.locator('.monaco-checkbox, input[type="checkbox"]').first();
        const name = (await row.locator('.label-name').first().innerText()).trim();
        const wanted = labels.some((label) =>
          typeof label === 'string' ? label === name : label.test(name),
        );
        if ((await box.getAttribute('aria-checked')) !== String(wanted)) await box.click();
      }
      await input.press('Enter');
    },
    notification: (text) => page.locator('.notifications-toasts .notification-list-item', { hasText: text }),
    async openSidebar() {
      const action = page.locator('.activitybar .action-item', {
        has: page.locator('[aria-label^="Elastic Precision"]'),
      });
      if ((await action.getAttribute('class'))?.includes('checked')) return;
      await action.click();
      await pane('Models').waitFor();
    },
    async view(title) {
      const found = pane(title);
      const header = found.locator('.pane-header');
      if ((await header.getAttribute('aria-expanded')) === 'false') await header.click();
      return found;
    },
    async webview(tab) {
      const active = page.locator('.editor-group-container.active .tab.active');
      await active.filter({ hasText: tab }).waitFor();
      // Hidden webviews stay in the page; the active tab's is the visible one.
      const outer = page.locator('iframe.webview.ready').filter({ visible: true }).last();
      await outer.waitFor();
      return outer.contentFrame().locator('iframe#active-frame').contentFrame();
    },
    async reload() {
      await page.reload({ waitUntil: 'commit' });
      await ready();
    },
    close: () => context.close(),
  };
}

/** Entries of a tree, by what they show. */
export const treeRow = (view: Locator, text: string | RegExp): Locator =>
  view.locator('.monaco-list-row', { hasText: text }).first();

/** Opens a collapsed entry. */
export async function expand(view: Locator, text: string | RegExp): Promise<void> {
  const row = treeRow(view, text);
  await row.waitFor();
  if ((await row.getAttribute('aria-expanded')) === 'false') await row.locator('.monaco-tl-twistie').click();
}

/** Presses an inline action of an entry. */
export async function press(view: Locator, text: string | RegExp, action: string): Promise<void> {
  const row = treeRow(view, text);
  await row.hover();
  await row.locator(`.actions [aria-label^="${action}"]`).first().click();
}
