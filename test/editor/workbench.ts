/** One window of the editor, worked by keyboard and pointer as a person would. */
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type FrameLocator, type Locator, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { editor } from '../../scripts/install-editor.mjs';
import type { Server } from './server.js';

const PICTURES = fileURLToPath(new URL('../../.vscode-test/failures', import.meta.url));

/** Containers have no sandbox and no graphics adapter. */
const CHROMIUM = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** Errors that are ours: of the extension, and of a page's policy. The editor itself complains of much else. */
const OURS = /elastic-?precision\.|Content.Security.Policy|Refused to/i;

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: editor.chromium, headless: true, args: CHROMIUM });

export interface Workbench {
  readonly page: Page;
  /** Our errors on the console since the window opened; those of a page's policy are among them. */
  readonly errors: readonly string[];
  /** Runs a command from the palette. */
  run(title: string): Promise<void>;
  /** Types into the input that shows this prompt, and accepts. */
  type(text: string, prompt: string | RegExp): Promise<void>;
  /** Types a file's path over the one that the save dialog of this title suggests, and accepts. */
  saveAs(path: string, title: string): Promise<void>;
  /** Types into the quick pick of this placeholder, which then lists what has the text: entries below its end are not in the page. */
  narrow(placeholder: string, text: string): Promise<void>;
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
  /** Keeps a picture of the window for whoever reads of a failure. */
  picture(name: string): Promise<void>;
  close(): Promise<void>;
}

export async function openWorkbench(
  browser: Browser,
  server: Pick<Server, 'url'>,
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
    if (message.type() === 'error' && OURS.test(message.text())) errors.push(message.text());
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
      .filter({ has: page.locator('.label-name', { hasText: whole(label) }) })
      .first();

  const pane = (title: string) =>
    page.locator('.pane').filter({ has: page.locator('.pane-header .title', { hasText: whole(title) }) });

  return {
    page,
    errors,
    async run(title) {
      // The list of an open palette stays as it is: before the extension is known it never finds its commands.
      // A window that is still opening may take the focus, and the palette with it.
      for (let tries = 0; ; tries++) {
        await page.keyboard.press('F1');
        try {
          await input.fill(`>${title}`, { timeout: 3000 });
          await entry(title).click({ timeout: 3000 });
          return;
        } catch (error) {
          if (tries === 10) throw error;
          await page.keyboard.press('Escape');
          await input.waitFor({ state: 'hidden' });
        }
      }
    },
    async type(text, prompt) {
      // A list before it may say the same of one of its rows.
      await page
        .locator('.quick-input-widget', {
          hasText: prompt,
          hasNot: page.locator('.quick-input-list .monaco-list-row:visible'),
        })
        .filter({ visible: true })
        .waitFor();
      await input.fill(text);
      await input.press('Enter');
    },
    async saveAs(path, title) {
      await page.locator('.quick-input-widget', { hasText: title }).filter({ visible: true }).waitFor();
      // The suggestion comes after the dialog, and replaces what was typed before it.
      const value = `document.querySelector('.quick-input-widget input[type="text"]').value`;
      await page.waitForFunction(`${value}.endsWith(${JSON.stringify(extname(path))})`);
      await input.fill(path);
      // While it reads the folder it hears nothing.
      for (let tries = 0; ; tries++) {
        await input.press('Enter');
        try {
          await input.waitFor({ state: 'hidden', timeout: 3000 });
          return;
        } catch (error) {
          if (tries === 10) throw error;
        }
      }
    },
    async narrow(placeholder, text) {
      await page.locator(`.quick-input-widget input[placeholder="${placeholder}"]`).fill(text);
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
        const wanted = labels.some((label) => whole(label).test(name));
        if ((await box.getAttribute('aria-checked')) !== String(wanted)) await box.click();
      }
      await input.press('Enter');
    },
    notification: (text) => page.locator('.notifications-toasts .notification-list-item', { hasText: text }),
    async openSidebar() {
      const action = page.locator('.activitybar .action-item', {
        has: page.locator('[aria-label^="Elastic Precision"]'),
      });
      const isOpen = async () => {
        if ((await action.getAttribute('class'))?.includes('checked')) return pane('Models').isVisible();
        await action.click();
        return false;
      };
      // A window that is still restoring its views opens the sidebar behind the click, which then closes it.
      await expect.poll(isOpen, { interval: 500, timeout: 60_000 }).toBe(true);
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
    picture: async (name) => {
      const path = join(PICTURES, `${name.replace(/[^\w]+/g, '-')}.png`);
      await page.screenshot({ path }).catch(() => undefined);
    },
    close: () => context.close(),
  };
}

/** A text stands for all of a label, which may begin with an icon. */
const whole = (label: string | RegExp): RegExp =>
  typeof label === 'string' ? new RegExp(`^\\s*${label.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\s*$`) : label;

/** Entries of a tree, by what they show. */
export const treeRow = (view: Locator, text: string | RegExp): Locator =>
  view.locator('.monaco-list-row', { hasText: text }).first();

/** Opens a collapsed entry. */
export async function expand(view: Locator, text: string | RegExp): Promise<void> {
  const row = treeRow(view, text);
  await row.waitFor();
  if ((await row.getAttribute('aria-expanded')) === 'false') await row.locator('.monaco-tl-twistie').click();
}

/** Closes an expanded entry: entries far below others are not in the page until they are scrolled to. */
export async function collapse(view: Locator, text: string | RegExp): Promise<void> {
  const row = treeRow(view, text);
  if ((await row.getAttribute('aria-expanded')) === 'true') await row.locator('.monaco-tl-twistie').click();
}

/** Presses an inline action of an entry. */
export async function press(view: Locator, text: string | RegExp, action: string): Promise<void> {
  const row = treeRow(view, text);
  await row.hover();
  await row.locator(`.actions [aria-label^="${action}"]`).first().click();
}
