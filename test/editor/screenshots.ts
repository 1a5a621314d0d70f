/** Pictures of every view of the running extension, in a dark, a light and a high-contrast theme: docs/images. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Locator } from 'playwright-core';
import sharp from 'sharp';
import { expect, inject, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder } from './folders.js';
import { startServer } from './server.js';
import { expand, launchBrowser, openWorkbench, press, treeRow, type Workbench } from './workbench.js';

const IMAGES = fileURLToPath(new URL('../../docs/images', import.meta.url));
const LARGEST_BYTES = 150_000;
const SIDEBAR_PIXELS = 460;

const THEMES = [
  { name: 'dark', setting: 'Dark Modern', css: 'vs-dark' },
  { name: 'light', setting: 'Light Modern', css: 'vs' },
  { name: 'high-contrast', setting: 'Default High Contrast', css: 'hc-black' },
] as const;

it('every view is pictured in every theme', async () => {
  await mkdir(IMAGES, { recursive: true });
  const folder = await sampleFolder('checkpoints', ['vit-fashion', 'llama-speeches']);
  const server = await startServer({ vsix: [inject('vsix')] });
  const browser = await launchBrowser();
  const editor = await openWorkbench(browser, server, folder.path, { width: 1360, height: 1000 });
  try {
    await prepare(editor);
    for (const { name, setting, css } of THEMES) {
      await server.configure({ 'workbench.colorTheme': setting });
      // A file that changes on disk is not always noticed.
      await editor.reload();
      await editor.page.locator(`.monaco-workbench.${css}`).waitFor();
      await editor.openSidebar();
      for (const [view, picture] of Object.entries(PICTURES))
        await keep(`${view}-${name}`, await picture(editor));
    }
    await press(await editor.view('Jobs'), /\d+ %/, 'Cancel Job');
    await treeRow(await editor.view('Jobs'), 'cancelled at').waitFor();
    expect(editor.errors).toEqual([]);
  } finally {
    await browser.close();
    await server.stop();
    await folder.remove();
  }
});

/** An adapter set, its evaluation, and a calibration that runs. */
async function prepare(editor: Workbench): Promise<void> {
  await editor.openSidebar();
  await widen(editor);
  const models = await editor.view('Models');
  await press(models, 'vit-fashion', 'Calibrate Model…');
  await calibrate(editor, { bits: [8, 6, 4, 3], samples: 64, epochs: 2, name: 'elastic' });
  await editor.notification('"elastic"').waitFor({ timeout: 300_000 });
  await editor.run('Notifications: Clear All Notifications');
  const sets = await editor.view('Adapter Sets');
  await press(sets, 'elastic', 'Evaluate Adapter Set…');
  const page = await editor.webview('Evaluation: vit-fashion');
  await page.getByRole('button', { name: 'Choose…' }).click();
  await editor.pick(/Sample: Fashion-MNIST/);
  await page.getByText('evaluation-images-idx3-ubyte.gz').waitFor();
  await page.getByRole('textbox', { name: 'Samples' }).fill('300');
  await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
  await page.getByText('Results', { exact: true }).waitFor({ timeout: 300_000 });
  await expand(models, 'vit-fashion');
  await expand(models, 'vit.encoder.layer.0');
  await expand(sets, 'elastic');
  await press(models, 'vit-fashion', 'Calibrate Model…');
  await calibrate(editor, { bits: [8, 4, 2], samples: 1024, epochs: 40, name: 'thorough' });
  await treeRow(await editor.view('Jobs'), /[1-9]\d* %/).waitFor({ timeout: 300_000 });
}

/** Draws the edge of the sidebar, so that rows show all of their text. */
async function widen({ page }: Workbench): Promise<void> {
  const { x, width, y, height } = await boxOf(page.locator('.part.sidebar'));
  await page.mouse.move(x + width, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + SIDEBAR_PIXELS, y + height / 2, { steps: 8 });
  await page.mouse.up();
}

const PICTURES: Readonly<Record<string, (editor: Workbench) => Promise<Buffer>>> = {
  models: (editor) => pane(editor, 'Models'),
  'adapter-sets': (editor) => pane(editor, 'Adapter Sets'),
  jobs: (editor) => pane(editor, 'Jobs'),
  calibrate: async (editor) => {
    const { page } = editor;
    await press(await editor.view('Models'), 'vit-fashion', 'Calibrate Model…');
    await editor.pick('Weights and activations');
    const widget = page.locator('.quick-input-widget');
    await widget.getByText('8 bits').first().waitFor();
    const picture = await widget.screenshot();
    await page.keyboard.press('Escape');
    await widget.waitFor({ state: 'hidden' });
    return picture;
  },
  evaluation: async (editor) => {
    const page = await editor.webview('Evaluation: vit-fashion');
    await page.getByText('Results', { exact: true }).scrollIntoViewIfNeeded();
    return editor.page.locator('.part.editor').screenshot();
  },
};

/** A view without a pointer on it. */
async function pane(editor: Workbench, title: string): Promise<Buffer> {
  await editor.page.mouse.move(0, 0);
  return (await editor.view(title)).screenshot();
}

async function boxOf(locator: Locator): Promise<{ x: number; y: number; width: number; height: number }> {
  const box = await locator.boundingBox();
  if (box === null) throw new Error('It is not visible.');
  return box;
}

/** Few colours make small files. */
async function keep(name: string, picture: Buffer): Promise<void> {
  const path = join(IMAGES, `${name}.png`);
  await sharp(picture).png({ palette: true, colours: 128, compressionLevel: 9, effort: 10 }).toFile(path);
  expect((await readFile(path)).length).toBeLessThan(LARGEST_BYTES);
}
