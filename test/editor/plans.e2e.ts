/**
 * A precision plan as a person edits it: by pointer, by keyboard and as text, with undo and save, against a budget, on
 * the running model, and through a text that is broken and repaired.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, FrameLocator } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { sampleFolder, type TestFolder } from './folders.js';
import { launchBrowser, openWorkbench, type Workbench } from './workbench.js';

const exec = promisify(execFile);
const PLAN = 'mixed.precision.json';

let browser: Browser;
let folder: TestFolder;
let editor: Workbench;
let page: FrameLocator;

beforeAll(async () => {
  folder = await sampleFolder('plans', ['vit-fashion', 'data']);
  await makeAdapterSet(join(folder.path, 'vit-fashion'), join(folder.path, 'data/fashion-mnist'));
  const plan = { model: 'vit-fashion', adapters: 'vit-fashion/adapters/quick', default: 4, layers: {} };
  await writeFile(join(folder.path, PLAN), `${JSON.stringify(plan, undefined, 2)}\n`);
  browser = await launchBrowser();
  editor = await openWorkbench(browser, { url: inject('serverUrl') }, folder.path, {
    width: 1500,
    height: 900,
  });
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') await editor.picture(task.name);
});
afterAll(async () => {
  await browser.close();
  await folder.remove();
});

/** By the command line that ships: a short calibration, and what its layers cost. */
async function makeAdapterSet(model: string, data: string): Promise<void> {
  const cli = join(inject('extension'), 'dist/cli.js');
  const out = join(model, 'adapters/quick');
  const pictures = join(data, 'calibration-images-idx3-ubyte.gz');
  const run = (...args: string[]) => exec(process.execPath, [cli, ...args]);
  await run('calibrate', model, '--data', pictures, '--out', out, '--samples', '64', '--epochs', '1', '--device', 'cpu'); // prettier-ignore
  await run('sensitivity', model, '--adapters', out, '--data', pictures, '--samples', '32');
}

const text = () => readFile(join(folder.path, PLAN), 'utf8');
const saved = async () => JSON.parse(await text()) as { default: number; layers: Record<string, number> };
const average = () => page.locator('.tile .value').first().innerText();
const row = (name: RegExp) => page.getByRole('row', { name }).first();
const query = (block: number) => row(new RegExp(`^attention\\.attention\\.query, .*layer\\.${block}\\b`));
/** The text has everything that the page asked for. */
const settled = () => expect.poll(() => page.getByRole('grid').getAttribute('aria-busy')).toBeNull();
const isDirty = () => editor.page.locator('.tab.active.dirty').count();

describe('the precision editor', () => {
  it('opens a plan with every layer of its model', async () => {
    // Before the extension is known a plan is a text like others.
    await editor.openSidebar();
    await (await editor.view('Models')).locator('.monaco-list-row', { hasText: 'vit-fashion' }).waitFor();
    await editor.run('View: Show Explorer');
    await editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: PLAN }).dblclick();
    page = await editor.webview(PLAN);
    await page.getByRole('slider').waitFor();
    expect(await average()).toBe('4.00');
    const label = await query(0).getAttribute('aria-label');
    expect(label).toMatch(/4 bits, vit\.encoder\.layer\.0, cost [\d.e-]+/);
  });

  it('changes bits by pointer and keyboard; undo, redo and save are the editor’s own', async () => {
    await query(0).locator('[data-bits="8"]').click();
    await expect.poll(average).toBe('4.11');
    await settled();
    await editor.page.keyboard.press('ArrowDown');
    await editor.page.keyboard.press('Shift+ArrowDown');
    await editor.page.keyboard.press('5');
    await expect.poll(average).toBe('4.17');
    await settled();
    expect(await isDirty()).toBe(1);
    await editor.page.keyboard.press('Control+z');
    await expect.poll(average).toBe('4.11');
    await editor.page.keyboard.press('Control+z');
    await expect.poll(average).toBe('4.00');
    await editor.page.keyboard.press('Control+y');
    await expect.poll(average).toBe('4.11');
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
    expect((await saved()).layers).toEqual({ 'vit.encoder.layer.0.attention.attention.query': 8 });
  });

  it('follows the text beside it', async () => {
    await writeFile(join(folder.path, PLAN), (await text()).replace('"default": 4', '"default": 6'));
    await expect.poll(average).toBe('6.06');
  });

  it('drags the budget: one edit, one undo', async () => {
    const slider = page.getByRole('slider');
    const box = (await slider.boundingBox())!;
    const y = box.y + box.height / 2;
    await editor.page.mouse.move(box.x + box.width * 0.8, y);
    await editor.page.mouse.down();
    for (const part of [0.7, 0.6, 0.4, 0.2]) await editor.page.mouse.move(box.x + box.width * part, y);
    await editor.page.mouse.up();
    await expect.poll(isDirty).toBe(1);
    await settled();
    await expect.poll(average).not.toBe('6.06');
    await editor.page.keyboard.press('Control+z');
    await expect.poll(average).toBe('6.06');
    await expect.poll(isDirty).toBe(0);
  });

  it('measures the running model, and again after an edit', async () => {
    await page.getByRole('button', { name: 'Measure Now' }).click();
    await editor.pick(/Sample: Fashion-MNIST/);
    const scores = () => page.locator('.history .score').allInnerTexts();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(1);
    expect((await scores())[0]).toMatch(/^[\d.]+%$/);
    await page.getByRole('checkbox', { name: 'Keep measuring' }).click();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(2);
    await page.getByRole('button', { name: 'Best plan no larger than all layers at 4 bits' }).click();
    await page.getByText(/Switched in [\d.]+ ms/).waitFor();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(3);
    expect((await scores())[0]).not.toBe((await scores())[1]);
    await page.getByRole('checkbox', { name: 'Keep measuring' }).click();
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
  });

  it('answers a picture at the plan’s bits next to full precision, again after an edit', async () => {
    await page.locator('#picture').setInputFiles(join(inject('extension'), 'media/icon.png'));
    const answers = () => page.locator('.answer').allInnerTexts();
    await expect.poll(async () => (await answers()).length, { timeout: 60_000 }).toBe(2);
    const [plan, full] = await answers();
    expect(plan).toMatch(/This plan[^%]+[\d.]+%/);
    await page.getByRole('button', { name: 'All 8 bits' }).click();
    await expect.poll(async () => (await answers())[0], { timeout: 60_000 }).not.toBe(plan);
    expect((await answers())[1]).toBe(full);
  });

  it('allocates to a budget that is typed, and says what is too small', async () => {
    await editor.run('Elastic Precision: Allocate to Budget…');
    await editor.pick('Average bits of the layers');
    const input = editor.page.locator('.quick-input-widget input[type="text"]');
    await input.fill('2');
    await editor.page
      .locator('.quick-input-widget', { hasText: 'Too small: the smallest possible is 4.00' })
      .waitFor();
    await input.fill('6.5');
    await input.press('Enter');
    await expect.poll(async () => Math.abs(Number(await average()) - 6.4)).toBeLessThanOrEqual(0.1001);
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
  });

  it('keeps the last rows while the text is broken, and goes on when it is repaired', async () => {
    const good = await text();
    await writeFile(join(folder.path, PLAN), good.replace('"default"', '"default'));
    await page.getByText(/no precision plan/).waitFor();
    expect(await page.getByRole('grid').getAttribute('aria-readonly')).toBe('true');
    const before = await average();
    await query(1).locator('[data-bits="8"]').click({ force: true });
    expect(await average()).toBe(before);
    await writeFile(join(folder.path, PLAN), good.replace(/"default": \d/, '"default": 5'));
    await page.getByText(/no precision plan/).waitFor({ state: 'detached' });
    await expect.poll(() => page.getByRole('grid').getAttribute('aria-readonly')).toBeNull();
  });

  it('comes back after a reload of the window', async () => {
    const before = await average();
    await editor.reload();
    page = await editor.webview(PLAN);
    await page.getByRole('slider').waitFor();
    expect(await average()).toBe(before);
    expect(editor.errors).toEqual([]);
  });
});

describe('the text of a plan', () => {
  it('has its totals above it, and its problems in the view of problems', async () => {
    const plan = JSON.parse(await text()) as object;
    const wrong = { ...plan, layers: { 'vit.encoder.layer.9.*': 3 } };
    await writeFile(join(folder.path, PLAN), `${JSON.stringify(wrong, undefined, 2)}\n`);
    await page.getByText(/Problems in this plan: 1/).waitFor();
    await page.getByRole('button', { name: 'Open as Text' }).first().click();
    const group = editor.page.locator('.editor-group-container.active');
    await group
      .locator('.codelens-decoration', { hasText: /5\.00 bits on average · [\d.]+ (kB|MB)/ })
      .waitFor();
    await group.locator('.squiggly-error').first().waitFor();
    await group.locator('.codelens-decoration a', { hasText: 'bits on average' }).click();
    await editor.webview(PLAN);
  });
});
