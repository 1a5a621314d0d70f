/** What the tests of a file have in common: a folder, and one window that shows it. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, inject } from 'vitest';
import type { TestFolder } from './folders.js';
import { launchBrowser, openWorkbench, type Workbench } from './workbench.js';

export interface Shared {
  readonly folder: TestFolder;
  readonly editor: Workbench;
}

/** Opens the folder before the first test and hands both over; pictures the window of a test that fails; removes all after. */
export function shareWindow(
  makeFolder: () => Promise<TestFolder>,
  handOver: (shared: Shared) => void,
  size: { readonly width?: number; readonly height?: number } = {},
): void {
  let browser: Browser;
  let folder: TestFolder;
  let editor: Workbench;
  beforeAll(async () => {
    folder = await makeFolder();
    browser = await launchBrowser();
    editor = await openWorkbench(browser, { url: inject('serverUrl') }, folder.path, size);
    handOver({ folder, editor });
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') await editor.picture(task.name);
  });
  afterAll(async () => {
    await browser.close();
    await folder.remove();
  });
}
