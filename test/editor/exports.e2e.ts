/** Export from every place that offers it: formats with sizes and reasons, jobs, and what they wrote. */
import { execFile } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, inject, it } from 'vitest';
import { formatBytes } from '../../engine/plans/numbers.js';
import { sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { openWalkthrough } from './walkthrough.js';
import { expand, press, treeRow, type Workbench } from './workbench.js';

const exec = promisify(execFile);
const data = (name: string) => fileURLToPath(new URL(`../../samples/data/${name}`, import.meta.url));
const PLAN = 'mixed.precision.json';

let folder: TestFolder;
let editor: Workbench;

shareWindow(makeFolder, (shared) => ({ folder, editor } = shared), { width: 1440 });

/** Two models, of each a set: one of weights, which has an evaluation and a plan, and one of weights and activations. */
async function makeFolder(): Promise<TestFolder> {
  const made = await sampleFolder('exports', ['llama-speeches', 'vit-fashion']);
  const cli = join(inject('extension'), 'dist/cli.js');
  const run = (...args: string[]) =>
    exec(process.execPath, [cli, ...args, '--device', 'cpu', '--threads', '1'], { cwd: made.path });
  const [set, both] = ['llama-speeches/adapters/rounded', 'vit-fashion/adapters/both'];
  const rounding = ['--method', 'rounding', '--bits', '8,4'];
  await run('calibrate', 'llama-speeches', '--out', set, ...rounding);
  await run('calibrate', 'vit-fashion', '--out', both, ...rounding, '--mode', 'weight-activation', '--samples', '8', '--data', data('fashion-mnist/calibration-images-idx3-ubyte.gz')); // prettier-ignore
  await run('evaluate', 'llama-speeches', '--adapters', set, '--data', data('speeches/evaluation.txt'), '--limit', '2', '--save', 'two windows'); // prettier-ignore
  const plan = { model: 'llama-speeches', adapters: set, default: 4, layers: { '**.down_proj': 8 } };
  await writeFile(join(made.path, PLAN), JSON.stringify(plan));
  return made;
}

const picker = () => editor.page.locator('.quick-input-widget');
const tick = (name: string) =>
  picker().locator('.monaco-list-row', { hasText: name }).first().locator('.monaco-checkbox, input').first();

/** Into the folder that is proposed: the one that is open. */
async function intoFolder(): Promise<void> {
  await picker().getByText('Folder to export into').waitFor();
  const input = picker().locator('input[type="text"]');
  await expect.poll(() => input.inputValue()).toBe(`${folder.path}/`);
  await picker().getByRole('button', { name: 'Export', exact: true }).click();
  await picker().waitFor({ state: 'hidden' });
}

async function sizeOf(name: string): Promise<number> {
  const path = join(folder.path, name);
  const files = await readdir(path);
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(path, file))).size));
  return sizes.reduce((a, b) => a + b, 0);
}

it('a set is exported at the bits and in the format that are chosen, and shown where it is', async () => {
  await editor.openSidebar();
  const sets = await editor.view('Adapter Sets');
  await press(sets, 'rounded', 'Export Model');
  await editor.pick('4 bits');
  const row = picker().locator('.monaco-list-row', { hasText: 'Checkpoint' }).first();
  await row.getByText(/MB/).waitFor();
  const size = /[\d.]+ MB/.exec(await row.innerText())![0];
  await editor.pickSeveral(['Checkpoint']);
  await intoFolder();
  const name = 'llama-speeches-4-bits-safetensors';
  const toast = editor.notification(/Export llama-speeches as Checkpoint: wrote/);
  await toast.waitFor({ timeout: 180_000 });
  expect(await toast.innerText()).toContain(`"${name}", ${size}`);
  expect(formatBytes(await sizeOf(name), 'en')).toBe(size);
  const config = JSON.parse(await readFile(join(folder.path, name, 'config.json'), 'utf8')) as object;
  expect(config).toMatchObject({ model_type: 'llama' });
  await toast.getByRole('button', { name: 'Reveal' }).click();
  await editor.page.locator('.explorer-folders-view .monaco-list-row.focused', { hasText: name }).waitFor();
  await editor.openSidebar();
  await treeRow(
    await editor.view('Jobs'),
    /Export llama-speeches as Checkpoint.*rounded.*finished/,
  ).waitFor();
});

it('formats that cannot hold a set say why, and cannot be ticked', async () => {
  await press(await editor.view('Adapter Sets'), 'both', 'Export Model');
  await editor.pick('8 bits');
  // A list that is scrolled repeats the words above it.
  await picker().getByText('Not possible').first().waitFor();
  const reason = picker()
    .getByText(/quantizes activations, which a checkpoint cannot say/)
    .first();
  await reason.waitFor();
  await reason.click();
  await expect.poll(() => tick('Checkpoint').getAttribute('aria-checked')).toBe('false');
  await editor.page.keyboard.press('Escape');
  await picker().waitFor({ state: 'hidden' });
});

it('a plan is exported as its editor shows it, in several formats at once', async () => {
  await editor.run('View: Show Explorer');
  await editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: PLAN }).dblclick();
  await (
    await editor.webview(PLAN)
  )
    .getByRole('row', { name: /down_proj/ })
    .first()
    .waitFor();
  await editor.page.locator('.editor-actions [aria-label^="Export Model"]').first().click();
  await picker().getByText('Export llama-speeches, mixed').waitFor();
  await editor.pickSeveral(['Checkpoint', 'GGUF', 'ONNX']);
  await intoFolder();
  await editor.notification(/as ONNX: wrote/).waitFor({ timeout: 180_000 });
  const written = (await readdir(folder.path)).filter((name) => name.startsWith('llama-speeches-mixed'));
  expect(written.sort()).toEqual([
    'llama-speeches-mixed-onnx',
    'llama-speeches-mixed-safetensors',
    'llama-speeches-mixed.gguf',
  ]);
});

// Runtimes of others load the model anew, one after another.
it(
  'what was exported of a plan is verified, and its rows stand beside the plan',
  { timeout: 600_000 },
  async () => {
    await editor.openSidebar();
    const jobs = await editor.view('Jobs');
    await press(jobs, /Export llama-speeches as ONNX/, 'Verify Export');
    const dialog = editor.page.locator('.monaco-dialog-box');
    const question = picker().getByPlaceholder('Evaluation set: data that calibration has not seen');
    await dialog.or(question).first().waitFor();
    if (await dialog.isVisible()) {
      await dialog.getByText('Install llama.cpp to verify GGUF files?').waitFor();
      await dialog.getByRole('button', { name: 'Install' }).click();
      await question.waitFor({ timeout: 300_000 });
    }
    await editor.pick(/speeches from 2010 on/);
    await editor.pick('The first 64');
    const page = await editor.webview('Evaluation: llama-speeches');
    const rows = page.locator('vscode-data-grid-row:not([row-type="header"])');
    for (const text of [
      'mixed',
      'llama-speeches-mixed-onnx · ONNX Runtime',
      'llama-speeches-mixed.gguf · llama.cpp',
    ])
      await rows.filter({ hasText: text }).first().waitFor({ timeout: 480_000 });
  },
);

it('a row of an evaluation is exported, beside what is there already', async () => {
  await editor.openSidebar();
  const sets = await editor.view('Adapter Sets');
  await expand(sets, 'rounded');
  await press(sets, /two windows/, 'Open Evaluation');
  const page = await editor.webview('Evaluation: llama-speeches');
  await page.getByRole('button', { name: 'Export Model…' }).click();
  await editor.pick(/rounded · 4 bits/);
  await picker().getByText('Export llama-speeches, 4 bits').waitFor();
  await editor.pickSeveral(['Checkpoint']);
  await intoFolder();
  await editor.notification('wrote "llama-speeches-4-bits-safetensors (2)"').waitFor({ timeout: 180_000 });
  expect(editor.errors).toEqual([]);
});

it('was the last step of the walkthrough, ticked there', async () => {
  const { ticked } = await openWalkthrough(editor);
  await expect.poll(ticked).toContain('Take it to your runtime');
});
