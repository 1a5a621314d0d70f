/** Pictures of every view of the running extension, in a dark, a light and a high-contrast theme: docs/images. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Locator } from 'playwright-core';
import sharp from 'sharp';
import { expect, inject, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder } from './folders.js';
import { startServer } from './server.js';
import { expand, launchBrowser, openWorkbench, press, treeRow, type Workbench } from './workbench.js';

const exec = promisify(execFile);

const IMAGES = fileURLToPath(new URL('../../docs/images', import.meta.url));
const FAILURE = fileURLToPath(new URL('../../.vscode-test/failures/screenshots.png', import.meta.url));
const PLAN = 'mixed.precision.json';
/** The row of an evaluation: its name is when it began. */
const EVALUATION = /\d{4}-\d{2}-\d{2} \d{2}-\d{2}-\d{2}/;
const LARGEST_BYTES = 150_000;
const SIDEBAR_PIXELS = 460;

const THEMES = [
  { name: 'dark', setting: 'Dark Modern', css: 'vs-dark' },
  { name: 'light', setting: 'Light Modern', css: 'vs' },
  { name: 'high-contrast', setting: 'Default High Contrast', css: 'hc-black' },
] as const;

it('every view is pictured in every theme', async () => {
  await mkdir(IMAGES, { recursive: true });
  const folder = await sampleFolder('checkpoints', ['vit-fashion', 'llama-speeches', 'data']);
  const server = await startServer({ vsix: [inject('vsix')] });
  const browser = await launchBrowser();
  const open = () => openWorkbench(browser, server, folder.path, { width: 1360, height: 1000 });
  try {
    await makeAdapterSet(folder.path);
    const first = await open();
    await saveEvaluation(first);
    await first.close();
    for (const { name, setting, css } of THEMES) {
      // A window reads the setting when it opens; a file that changes under it is not always noticed.
      await server.configure({ 'workbench.colorTheme': setting });
      const editor = await open();
      await editor.page.locator(`.monaco-workbench.${css}`).waitFor();
      for (const [view, picture] of Object.entries(PICTURES))
        await keep(`${view}-${name}`, await picture(editor, folder.path));
      expect(editor.errors).toEqual([]);
      await editor.close();
    }
  } finally {
    for (const context of browser.contexts())
      for (const page of context.pages()) await page.screenshot({ path: FAILURE }).catch(() => undefined);
    await browser.close();
    await server.stop();
    await folder.remove();
  }
});

/** By the command line that ships: calibrations, what layers cost, and a plan. */
async function makeAdapterSet(folder: string): Promise<void> {
  const cli = join(inject('extension'), 'dist/cli.js');
  const [model, data] = ['vit-fashion', 'data/fashion-mnist/calibration-images-idx3-ubyte.gz'];
  const out = `${model}/adapters/elastic`;
  const run = (...args: string[]) => exec(process.execPath, [cli, ...args], { cwd: folder });
  const amount = ['--groups', '8/6/4/2', '--samples', '256', '--epochs', '4', '--device', 'cpu'];
  await run('calibrate', model, '--data', data, '--out', out, ...amount);
  await run('sensitivity', model, '--adapters', out, '--data', data, '--samples', '32');
  const rounded = ['--method', 'rounding', '--bits', '8,4,3', '--device', 'cpu'];
  await run('calibrate', 'llama-speeches', '--out', 'llama-speeches/adapters/rounded', ...rounded);
  const plan = { model, adapters: out, default: 4, layers: {} };
  await writeFile(join(folder, PLAN), `${JSON.stringify(plan, undefined, 2)}\n`);
}

/** Evaluates the adapter set next to rounding alone; the result stays beside the set. */
async function saveEvaluation(editor: Workbench): Promise<void> {
  await editor.openSidebar();
  await press(await editor.view('Adapter Sets'), 'elastic', 'Evaluate Adapter Set…');
  const page = await editor.webview('Evaluation: vit-fashion');
  await page.getByRole('button', { name: 'Choose…' }).click();
  await editor.pick(/Sample: Fashion-MNIST/);
  await page.getByText('evaluation-images-idx3-ubyte.gz').waitFor();
  await page.getByRole('textbox', { name: 'Samples' }).fill('500');
  await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
  await page.getByText('Results', { exact: true }).waitFor({ timeout: 300_000 });
}

/** Draws the edge of the sidebar, so that rows show all of their text. */
async function widen({ page }: Workbench): Promise<void> {
  const { x, width, y, height } = await boxOf(page.locator('.part.sidebar'));
  await page.mouse.move(x + width, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + SIDEBAR_PIXELS, y + height / 2, { steps: 8 });
  await page.mouse.up();
}

/** In this order, in one window. */
const PICTURES: Readonly<Record<string, (editor: Workbench, folder: string) => Promise<Buffer>>> = {
  models: async (editor) => {
    await editor.openSidebar();
    await widen(editor);
    const models = await editor.view('Models');
    await treeRow(models, 'llama-speeches').waitFor();
    await expand(models, 'vit-fashion');
    await expand(models, 'vit.encoder.layer.0');
    await treeRow(models, 'attention.attention.query').waitFor();
    return pane(editor, 'Models');
  },
  'adapter-sets': async (editor) => {
    const sets = await editor.view('Adapter Sets');
    await expand(sets, 'elastic');
    await treeRow(sets, EVALUATION).waitFor();
    return pane(editor, 'Adapter Sets');
  },
  method: (editor) => pictureOfCalibration(editor, 'Change Method…', 'GPTQ'),
  calibrate: (editor) => pictureOfCalibration(editor, undefined, 'Start calibration'),
  export: async (editor) => {
    await press(await editor.view('Adapter Sets'), 'rounded', 'Export Model');
    await editor.pick('4 bits');
    const widget = editor.page.locator('.quick-input-widget');
    await widget.getByText('GGUF').first().waitFor();
    return picturePick(editor);
  },
  jobs: async (editor) => {
    const jobs = await editor.view('Jobs');
    const cancelled = treeRow(jobs, 'cancelled at');
    if (await cancelled.isVisible()) await press(jobs, 'cancelled at', 'Resume Job');
    else {
      await press(await editor.view('Models'), 'vit-fashion', 'Calibrate Model…');
      await calibrate(editor, { bits: [8, 4, 2], samples: 1024, epochs: 40, name: 'thorough' });
    }
    await treeRow(jobs, /[1-9]\d*%.* left/).waitFor({ timeout: 120_000 });
    await expand(jobs, /\d+%.* left/);
    await treeRow(jobs, /block \d/).waitFor();
    const picture = await pane(editor, 'Jobs');
    await press(jobs, /\d+%.* left/, 'Cancel Job');
    await cancelled.waitFor();
    return picture;
  },
  evaluation: async (editor) => {
    await treeRow(await editor.view('Adapter Sets'), EVALUATION).click();
    const page = await editor.webview('vit-fashion');
    await page.getByText('Results', { exact: true }).waitFor();
    await editor.run('View: Toggle Primary Side Bar Visibility');
    await page.getByText('Results', { exact: true }).scrollIntoViewIfNeeded();
    return editorPart(editor);
  },
  precision: async (editor) => {
    await editor.run('View: Show Explorer');
    await editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: PLAN }).dblclick();
    const page = await editor.webview(PLAN);
    await page.getByRole('slider').click();
    await editor.run('View: Toggle Primary Side Bar Visibility');
    await editor.run('Notifications: Clear All Notifications');
    await expect.poll(() => page.getByRole('grid').getAttribute('aria-busy')).toBeNull();
    const picture = await editorPart(editor);
    await editor.run('File: Revert File');
    return picture;
  },
};

/** The questions before a calibration of the language model, after its data. @param shown what is waited for */
async function pictureOfCalibration(
  editor: Workbench,
  change: string | undefined,
  shown: string,
): Promise<Buffer> {
  const { page } = editor;
  await press(await editor.view('Models'), 'llama-speeches', 'Calibrate Model…');
  await editor.pick(/Sample: /);
  if (change !== undefined) await editor.pick(change);
  const widget = page.locator('.quick-input-widget');
  await widget.getByText(shown).first().waitFor();
  return picturePick(editor);
}

/** The open quick pick, which is closed then. */
async function picturePick({ page }: Workbench): Promise<Buffer> {
  const widget = page.locator('.quick-input-widget');
  await page.mouse.move(0, 0);
  const picture = await widget.screenshot();
  await page.keyboard.press('Escape');
  await widget.waitFor({ state: 'hidden' });
  return picture;
}

async function editorPart({ page }: Workbench): Promise<Buffer> {
  await page.mouse.move(0, 0);
  return page.locator('.part.editor').screenshot();
}

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
