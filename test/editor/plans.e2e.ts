/**
 * A precision plan as a person edits it: by pointer, by keyboard and as text, with undo and save, against a budget, on
 * the running model, through a text that is broken and repaired, in two editors side by side, without all that it needs.
 */
import { execFile } from 'node:child_process';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { FrameLocator } from 'playwright-core';
import { describe, expect, inject, it } from 'vitest';
import { sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { press as pressAction, type Workbench } from './workbench.js';

const exec = promisify(execFile);
const PLAN = 'mixed.precision.json';

let folder: TestFolder;
let editor: Workbench;
let page: FrameLocator;

shareWindow(
  async () => {
    const made = await sampleFolder('plans', ['vit-fashion', 'data']);
    await makeAdapterSet(join(made.path, 'vit-fashion'), join(made.path, 'data/fashion-mnist'));
    const plan = { model: 'vit-fashion', adapters: 'vit-fashion/adapters/quick', default: 4, layers: {} };
    await writePlan(PLAN, plan, made);
    return made;
  },
  (shared) => ({ folder, editor } = shared),
  { width: 1500, height: 900 },
);

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
const average = (of = page) => of.locator('.tile .value').first().innerText();
const row = (name: RegExp) => page.getByRole('row', { name }).first();
const query = (block: number) => row(new RegExp(`^attention\\.attention\\.query, .*layer\\.${block}\\b`));
/** The text has everything that the page asked for. */
const settled = () => expect.poll(() => page.getByRole('grid').getAttribute('aria-busy')).toBeNull();
const writePlan = (name: string, plan: object, { path } = folder) =>
  writeFile(join(path, name), `${JSON.stringify(plan, undefined, 2)}\n`);
const openPlan = (name: string) =>
  editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: name }).dblclick();
const isDirty = () => editor.page.locator('.tab.active.dirty').count();

describe('the precision editor', () => {
  it('opens a plan with every layer of its model', async () => {
    // Before the extension is known a plan is a text like others.
    await editor.openSidebar();
    await (await editor.view('Models')).locator('.monaco-list-row', { hasText: 'vit-fashion' }).waitFor();
    await editor.run('View: Show Explorer');
    await openPlan(PLAN);
    page = await editor.webview(PLAN);
    await page.getByRole('slider').waitFor();
    expect(await average()).toBe('4.00');
    const label = await query(0).getAttribute('aria-label');
    expect(label).toMatch(/4 bits, vit\.encoder\.layer\.0, cost [\d.e-]+/);
  });

  it('changes bits by pointer and keyboard; undo, redo and save are the editor’s own', async () => {
    await query(0).locator('[data-bits="8"]').click();
    await expect.poll(() => average()).toBe('4.06');
    await settled();
    await editor.page.keyboard.press('ArrowDown');
    await editor.page.keyboard.press('Shift+ArrowDown');
    await editor.page.keyboard.press('5');
    await expect.poll(() => average()).toBe('4.08');
    await settled();
    expect(await isDirty()).toBe(1);
    await editor.page.keyboard.press('Control+z');
    await expect.poll(() => average()).toBe('4.06');
    await editor.page.keyboard.press('Control+z');
    await expect.poll(() => average()).toBe('4.00');
    await editor.page.keyboard.press('Control+y');
    await expect.poll(() => average()).toBe('4.06');
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
    expect((await saved()).layers).toEqual({ 'vit.encoder.layer.0.attention.attention.query': 8 });
  });

  it('follows the text beside it', async () => {
    await writeFile(join(folder.path, PLAN), (await text()).replace('"default": 4', '"default": 6'));
    await expect.poll(() => average()).toBe('6.03');
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
    await expect.poll(() => average()).not.toBe('6.03');
    await editor.page.keyboard.press('Control+z');
    await expect.poll(() => average()).toBe('6.03');
    await expect.poll(isDirty).toBe(0);
  });

  it('measures the running model, and again after an edit', async () => {
    await page.getByRole('button', { name: 'Measure Now' }).click();
    await editor.pick(/Sample: Fashion-MNIST/);
    const scores = () => page.locator('.history .score').allInnerTexts();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(1);
    expect((await scores())[0]).toMatch(/^[\d.]+% ±[\d.]+%$/);
    await page.getByRole('checkbox', { name: 'Keep measuring' }).click();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(2);
    await page.getByRole('button', { name: 'Best plan no larger than all layers at 4 bits' }).click();
    await page.getByText(/layers? switched in [\d.]+ ms/).waitFor();
    await expect.poll(async () => (await scores()).length, { timeout: 120_000 }).toBe(3);
    expect((await scores())[0]).not.toBe((await scores())[1]);
    await page.getByRole('checkbox', { name: 'Keep measuring' }).click();
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
  });

  it('answers a picture at the plan’s bits next to full precision, again after an edit', async () => {
    await page.locator('#picture').setInputFiles(join(inject('extension'), 'media/icon.png'));
    const answers = () => page.locator('.answers[aria-busy="false"] .answer').allInnerTexts();
    await expect.poll(async () => (await answers()).length, { timeout: 60_000 }).toBe(2);
    const [plan, full] = await answers();
    expect(plan).toMatch(/This plan[^%]+[\d.]+%/);
    await page.getByRole('button', { name: 'All 8 bits' }).click();
    await expect.poll(async () => (await answers())[0], { timeout: 60_000 }).not.toBe(plan);
    expect((await answers())[1]).toBe(full);
  });

  it('allocates to a budget that is typed, and says what is too small', async () => {
    await editor.run('Elastic Precision: Allocate to Budget…');
    await editor.pick('Average bits per weight');
    await editor.page.locator('.quick-input-widget', { hasText: 'Most bits on average' }).waitFor();
    const input = editor.page.locator('.quick-input-widget input[type="text"]');
    await input.fill('2');
    await editor.page
      .locator('.quick-input-widget', { hasText: 'Too small: the smallest possible is 4.00' })
      .waitFor();
    await input.fill('6.5');
    await input.press('Enter');
    await editor.pick('By predicted cost');
    await expect.poll(async () => Math.abs(Number(await average()) - 6.4)).toBeLessThanOrEqual(0.1001);
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
  });

  it('keeps the last rows while the text is broken, and goes on when it is repaired', async () => {
    const good = await text();
    await writeFile(join(folder.path, PLAN), good.replace('"default"', '"default'));
    await page.getByText(/not a precision plan/).waitFor();
    expect(await page.getByRole('grid').getAttribute('aria-readonly')).toBe('true');
    const before = await average();
    await query(1).locator('[data-bits="8"]').click({ force: true });
    expect(await average()).toBe(before);
    await writeFile(join(folder.path, PLAN), good.replace(/"default": \d/, '"default": 5'));
    await page.getByText(/not a precision plan/).waitFor({ state: 'detached' });
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
    await writePlan(PLAN, wrong);
    await page.getByText(/Problems in this plan: 1/).waitFor();
    await page.getByRole('button', { name: 'Open as Text' }).first().click();
    const group = editor.page.locator('.editor-group-container.active');
    await group
      .locator('.codelens-decoration', { hasText: /5\.00 bits on average · [\d.]+ (kB|MB)/ })
      .waitFor();
    await group.locator('.squiggly-error').first().waitFor();

    await writePlan(PLAN, { ...plan, layers: {} });
    await group.locator('.squiggly-error').first().waitFor({ state: 'detached' });
    await group.locator('.view-line', { hasText: '"layers"' }).click();
    for (const key of ['End', 'ArrowLeft', '"']) await editor.page.keyboard.press(key);
    const offered = editor.page.locator('.suggest-widget.visible .monaco-list-row');
    await offered.filter({ hasText: '**.attention.attention.query' }).click();
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
    expect((await saved()).layers).toEqual({ '**.attention.attention.query': 4 });
    await group.locator('.view-line', { hasText: '"layers"' }).hover();
    await group.locator('.view-line span', { hasText: '**.attention.attention.query' }).last().hover();
    await editor.page.locator('.monaco-hover', { hasText: /6 layers · [\d.]+% of the weights/ }).waitFor();

    await writePlan(PLAN, wrong);
    await group.locator('.codelens-decoration a', { hasText: 'bits on average' }).click();
    await editor.webview(PLAN);
  });
});

describe('two editors side by side', () => {
  /** The pages in view, from left to right. */
  async function sides(): Promise<FrameLocator[]> {
    const views = editor.page.locator('iframe.webview.ready').filter({ visible: true });
    await expect.poll(() => views.count()).toBe(2);
    const left = await Promise.all((await views.all()).map(async (view) => (await view.boundingBox())!.x));
    const pages = [0, 1].map((i) =>
      views.nth(i).contentFrame().locator('iframe#active-frame').contentFrame(),
    );
    return left[0]! < left[1]! ? pages : pages.reverse();
  }
  const press = (of: FrameLocator, bits: number) =>
    of.getByRole('row', { name: /^attention\.attention\.query, .*layer\.0\b/ }).first().locator(`[data-bits="${bits}"]`).click(); // prettier-ignore

  it('show one plan: an edit in either, and its undo, are seen in both', async () => {
    const plan = { model: 'vit-fashion', adapters: 'vit-fashion/adapters/quick', layers: {} };
    await writePlan('a.precision.json', { ...plan, default: 4 });
    await writePlan('b.precision.json', { ...plan, default: 5 });
    await editor.run('View: Close All Editors');
    await editor.run('View: Show Explorer');
    await openPlan('a.precision.json');
    await editor.webview('a.precision.json');
    await editor.run('View: Split Editor Right');
    const both = await sides();
    const averages = () => Promise.all(both.map((one) => average(one)));
    await expect.poll(averages).toEqual(['4.00', '4.00']);
    await press(both[0]!, 8);
    await expect.poll(averages).toEqual(['4.06', '4.06']);
    await press(both[1]!, 6);
    await expect.poll(averages).toEqual(['4.03', '4.03']);
    await editor.page.keyboard.press('Control+z');
    await expect.poll(averages).toEqual(['4.06', '4.06']);
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
  });

  it('compare two plans, and follow edits of either', async () => {
    await openPlan('b.precision.json');
    await editor.webview('b.precision.json');
    const [a, b] = (await sides()) as [FrameLocator, FrameLocator];
    await expect.poll(() => average(b)).toBe('5.00');
    await editor.run('Elastic Precision: Compare Plans…');
    await editor.pick('a');
    const comparison = b.locator('.comparison');
    await comparison.getByText(/^Against a: 36 layers differ · \+0\.94 bits/).waitFor();
    expect(await b.locator('.bits.compared').count()).toBeGreaterThan(0);
    await press(a, 5);
    await comparison.getByText(/^Against a: 35 layers differ/).waitFor();
    await press(b, 6);
    await comparison.getByText(/^Against a: 36 layers differ/).waitFor();
    await comparison.getByRole('button', { name: 'Stop Comparing' }).click();
    await comparison.getByText('Against a').waitFor({ state: 'detached' });
    expect(await b.locator('.bits.compared').count()).toBe(0);
  });

  it('apply a plan: the model opens, and follows', async () => {
    const [, b] = (await sides()) as [FrameLocator, FrameLocator];
    await editor.run('Elastic Precision: Apply Plan to Running Model');
    await b.locator('.state.open').waitFor();
    await press(b, 8);
    await b.getByText(/layers? switched in [\d.]+ ms/).waitFor();
    await editor.run('File: Save All Files');
    await expect.poll(() => editor.page.locator('.tab.dirty').count()).toBe(0);
    await editor.run('View: Close All Editors');
  });
});

describe('a plan that lacks something', () => {
  it('says that it has no adapter set, then that its layers are not measured, and leads to both', async () => {
    const sets = join(folder.path, 'vit-fashion/adapters');
    await cp(join(sets, 'quick'), join(sets, 'unmeasured'), { recursive: true });
    await rm(join(sets, 'unmeasured/sensitivity.json'));
    await writePlan('bare.precision.json', { model: 'vit-fashion', default: 4, layers: {} });
    await openPlan('bare.precision.json');
    page = await editor.webview('bare.precision.json');
    await page.getByText('Without an adapter set, only sizes are known.').waitFor();
    await page.getByRole('button', { name: 'Choose Adapter Set…' }).click();
    await editor.pick('unmeasured');
    await page.getByText('What each bit-width costs each layer has not been measured yet.').waitFor();
    expect(await page.getByText('Without an adapter set').count()).toBe(0);
    await page.getByRole('button', { name: 'Compute Sensitivity…' }).click();
    await editor.page.locator('.quick-input-widget', { hasText: 'Sensitivity of unmeasured' }).waitFor();
    await editor.pick(/Sample: /);
    await page.getByText('What each bit-width costs each layer is being measured.').waitFor();
    await page.locator('.notices .caption', { hasText: /[1-9]\d*%/ }).waitFor({ timeout: 120_000 });
    await page.getByText(/sensitivity estimated on 128 samples of/).waitFor({ timeout: 120_000 });
    expect(await page.getByText('What each bit-width costs each layer').count()).toBe(0);
    expect(await page.getByRole('progressbar').count()).toBe(0);
    await editor.page.keyboard.press('Control+s');
    await expect.poll(isDirty).toBe(0);
    const written = await readFile(join(folder.path, 'bare.precision.json'), 'utf8');
    expect(JSON.parse(written)).toMatchObject({ adapters: 'vit-fashion/adapters/unmeasured' });
    expect(editor.errors).toEqual([]);
  });
});

describe('an evaluation', () => {
  it('has a plan beside bit-widths', async () => {
    await editor.openSidebar();
    await writePlan('kept.precision.json', { model: 'vit-fashion', default: 8, layers: { '**.query': 4 } });
    await pressAction(await editor.view('Adapter Sets'), 'quick', 'Evaluate Adapter Set…');
    page = await editor.webview('Evaluation: vit-fashion');
    await page.getByRole('checkbox', { name: 'quick', checked: true }).waitFor();
    await page.getByRole('checkbox', { name: 'kept', exact: true }).click();
    await page.getByRole('checkbox', { name: 'kept', exact: true, checked: true }).waitFor();
    await page.getByRole('checkbox', { name: 'Rounding' }).click();
    await page.getByRole('button', { name: 'Choose…' }).first().click();
    await editor.pick(/Sample: /);
    await page.getByText('evaluation-images-idx3-ubyte.gz').waitFor();
    await page.getByRole('textbox', { name: 'Samples' }).fill('100');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await page.getByText('Results', { exact: true }).waitFor({ timeout: 120_000 });
    const rows = page.locator('vscode-data-grid-row:not([row-type="header"])');
    expect(await rows.filter({ hasText: 'kept' }).count()).toBe(1);
    expect(await rows.filter({ hasText: 'quick' }).count()).toBeGreaterThan(1);
    expect(editor.errors).toEqual([]);
  });
});
