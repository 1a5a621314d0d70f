/**
 * The whole way as a person goes it: a folder with models (its name has spaces and letters of other scripts, a broken
 * checkpoint lies beside the good ones), a calibration that is cancelled and resumed, its adapter set, an evaluation.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { addCorruptModel, sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { openWalkthrough, STEPS } from './walkthrough.js';
import { expand, press, treeRow, type Workbench } from './workbench.js';

let folder: TestFolder;
let editor: Workbench;

shareWindow(
  async () => {
    const made = await sampleFolder('Modelle für Tests 模型', ['vit-fashion', 'llama-speeches']);
    await addCorruptModel(made.path, 'broken');
    return made;
  },
  (shared) => ({ folder, editor } = shared),
);

describe('the samples', () => {
  it('are listed with their blocks and layers, and the broken one says why it is not supported', async () => {
    await editor.openSidebar();
    const models = await editor.view('Models');
    await treeRow(models, 'llama-speeches').waitFor();
    await expand(models, 'vit-fashion');
    await expand(models, 'vit.encoder.layer.0');
    expect(await treeRow(models, 'vit-fashion').innerText()).toMatch(/4.8 MB · vit · 1.2 M parameters/);
    expect(await treeRow(models, 'attention.attention.query').innerText()).toMatch(/128 × 128/);
    await expand(models, 'llama-speeches');
    await treeRow(models, 'model.layers.5').waitFor();
    const broken = treeRow(models, 'broken');
    expect(await broken.innerText()).toMatch(/not supported/);
    await broken.hover();
    await editor.page.locator('.monaco-hover', { hasText: /model\.safetensors/ }).waitFor();
  });

  it('calibrate from the palette, with progress in the view and the status item, until cancelled', async () => {
    await editor.run('Elastic Precision: Calibrate Model…');
    await calibrate(editor, {
      model: 'vit-fashion',
      bits: [8, 4],
      samples: 256,
      epochs: 8,
      name: 'first try',
    });
    const jobs = await editor.view('Jobs');
    await treeRow(jobs, /Calibrate vit-fashion.*[1-9]\d*%/).waitFor();
    await treeRow(jobs, /block \d\/6/).waitFor();
    await editor.page.locator('.statusbar-item', { hasText: /\d+%/ }).waitFor();
    await press(jobs, 'Calibrate vit-fashion', 'Cancel Job');
    await treeRow(jobs, /Calibrate vit-fashion.*cancelled at \d+%/).waitFor();
  });

  it('go on after a reload of the window, to the end', async () => {
    await editor.reload();
    await editor.openSidebar();
    const jobs = await editor.view('Jobs');
    await treeRow(jobs, /Calibrate vit-fashion.*cancelled at [1-9]\d*%/).waitFor();
    await press(jobs, 'Calibrate vit-fashion', 'Resume Job');
    await editor.notification(/Calibrate vit-fashion: done in .*"first try"/).waitFor({ timeout: 180_000 });
    await treeRow(jobs, /Calibrate vit-fashion.*finished/).waitFor();
  });

  it('have an adapter set then, under their model', async () => {
    const sets = await editor.view('Adapter Sets');
    const row = treeRow(sets, 'first try');
    await row.waitFor();
    expect(await row.innerText()).toMatch(/8, 4/);
    const config = await readFile(
      join(folder.path, 'vit-fashion/adapters/first try/adapter_config.json'),
      'utf8',
    );
    expect(JSON.parse(config)).toMatchObject({ calibration: { samples: 256 } });
  });
});

describe('the evaluation', () => {
  it('runs at the chosen bit-widths and shows the scores as charts and as a table', async () => {
    const sets = await editor.view('Adapter Sets');
    await press(sets, 'first try', 'Evaluate Adapter Set…');
    const page = await editor.webview('Evaluation: vit-fashion');
    await page.getByRole('checkbox', { name: 'first try', checked: true }).waitFor();
    await page.getByRole('button', { name: 'Choose…' }).click();
    await editor.pick(/Sample: Fashion-MNIST/);
    await page.getByText('evaluation-images-idx3-ubyte.gz').waitFor();
    await page.getByRole('textbox', { name: 'Samples' }).fill('300');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await page.getByText('Results', { exact: true }).waitFor();
    const table = await rowsOf(page);
    expect(table.map(([model, , bits]) => [model, bits])).toEqual([
      ['Full precision', '–'],
      ['Rounding', '8'],
      ['first try', '8'],
      ['Rounding', '4'],
      ['first try', '4'],
    ]);
    expect(new Set(table.map(([model, method]) => `${model}: ${method}`))).toEqual(
      new Set(['Full precision: –', 'Rounding: Rounding', 'first try: QuEPT']),
    );
    for (const [, , bits, average, size, top1] of table) {
      if (bits !== '–') expect(Number(average)).toBeGreaterThan(Number(bits));
      expect(size).toMatch(/^[\d.]+ (MB|kB)$/);
      expect(Number.parseFloat(top1!)).toBeGreaterThan(70);
    }
    expect(
      await page
        .getByRole('group', { name: /Top-1 accuracy against bits/ })
        .getByRole('img')
        .count(),
    ).toBe(4);
    expect(
      await page
        .getByRole('group', { name: /Top-1 accuracy against size/ })
        .getByRole('img')
        .count(),
    ).toBe(4);
  });

  it('can be read by keyboard: points of a chart, rows of the table, sorted by a column', async () => {
    const page = await editor.webview('Evaluation: vit-fashion');
    const chart = page.getByRole('group', { name: /against bits/ });
    await chart.locator('[tabindex="0"]').focus();
    await editor.page.keyboard.press('End');
    expect(await page.locator('.mark:focus').getAttribute('aria-label')).toMatch(
      /^first try · QuEPT, 8 bits \(8\.\d\d per weight\), /,
    );
    await editor.page.keyboard.press('ArrowUp');
    expect(await page.locator('.mark:focus').getAttribute('aria-label')).toMatch(/^Rounding, 8 bits \(/);
    await page.getByRole('columnheader', { name: 'Size' }).focus();
    await editor.page.keyboard.press('Enter');
    await editor.page.keyboard.press('Enter');
    await page.locator('[aria-sort="ascending"]', { hasText: 'Size' }).waitFor();
    expect((await rowsOf(page)).map(([, , bits]) => bits).at(-1)).toBe('–');
    await editor.page.keyboard.press('ArrowDown');
    expect(await page.locator('vscode-data-grid-cell:focus').innerText()).toMatch(/[kM]B/);
  });

  it('holds the adapter set against rounding on the same pictures', async () => {
    const page = await editor.webview('Evaluation: vit-fashion');
    const picker = page.getByRole('combobox', { name: 'Compare with' });
    await picker.focus();
    await editor.page.keyboard.press('ArrowDown');
    await page.getByText(/^Difference from Rounding \(same samples\)/).waitFor();
    const differences = await rowsOf(page);
    expect(differences.map(([model, , bits]) => `${model} ${bits}`).sort()).toEqual([
      'first try 4',
      'first try 8',
    ]);
    for (const scores of differences.map(([, , , , , ...rest]) => rest)) {
      expect(scores).toHaveLength(2);
      for (const score of scores) expect(score).toMatch(/^(0\.0+%?|[+-]?[\d.]+%? ±[\d.]+%?( \*)?)$/);
    }
    expect(await picker.evaluate((control) => (control as unknown as { value: string }).value)).toContain(
      'rounding',
    );
    // The picker is the same one still, and has the focus.
    await editor.page.keyboard.press('ArrowUp');
    await page.getByText(/^±: standard error of the distance from full precision/).waitFor();
    expect(await rowsOf(page)).toHaveLength(5);
  });

  it('is exported', async () => {
    const page = await editor.webview('Evaluation: vit-fashion');
    const file = join(folder.path, 'scores.csv');
    await page.getByRole('button', { name: 'Export CSV…' }).click();
    await editor.saveAs(file, 'Export Evaluation');
    await expect.poll(() => readFile(file, 'utf8').catch(() => ''), { timeout: 60_000 }).toMatch(/\r\n$/);
    const lines = (await readFile(file, 'utf8')).trim().split('\r\n');
    expect(lines[0]).toMatch(/^label,kind,method,bits,averageBits,bytes,samples,top1/);
    expect(lines).toHaveLength(6);
  });

  it('is there again after a reload, and reopens from the sidebar', async () => {
    const before = await rowsOf(await editor.webview('Evaluation: vit-fashion'));
    await editor.reload();
    const restored = await editor.webview('Evaluation: vit-fashion');
    await restored.getByText('Results', { exact: true }).waitFor();
    expect(sorted(await rowsOf(restored))).toEqual(sorted(before));
    await editor.run('View: Close All Editors');
    await editor.openSidebar();
    const sets = await editor.view('Adapter Sets');
    await expand(sets, 'first try');
    await press(sets, /top-1 at 4 bits/, 'Open Evaluation');
    const reopened = await editor.webview('Evaluation: vit-fashion');
    await reopened.getByText('Results', { exact: true }).waitFor();
    expect(sorted(await rowsOf(reopened))).toEqual(sorted(before));
  });

  it('was the fourth step of the walkthrough: opened only now, it has those before ticked', async () => {
    const { ticked } = await openWalkthrough(editor);
    await expect.poll(ticked).toEqual(STEPS.slice(0, 4));
    await editor.run('View: Close Editor');
  });

  it('leaves nothing on the console: the policy of its page was never broken', () => {
    expect(editor.errors).toEqual([]);
  });

  it('keeps to the policy of its page: no script and no style of anybody else, nothing from elsewhere', async () => {
    const page = await editor.webview('Evaluation: vit-fashion');
    const refused = await page.locator('body').evaluate(`(${REFUSED})(document.body)`);
    expect(refused).toEqual(['img-src', 'script-src-elem', 'style-src-attr', 'style-src-elem']);
  });
});

/** Runs in a page: tries what its policy forbids, and gives the directives that refused it. */
const REFUSED = `async (body) => {
  const tries = [
    Object.assign(document.createElement('script'), { textContent: 'document.body.hidden = true' }),
    Object.assign(document.createElement('style'), { textContent: 'body { display: none }' }),
    Object.assign(document.createElement('img'), { src: 'https://127.0.0.1:9/picture.png' }),
    document.createElement('p'),
  ];
  const refused = [];
  const all = new Promise((resolve) => {
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
      if (refused.push(effectiveDirective) === tries.length) resolve();
    });
  });
  body.append(...tries);
  tries[3].setAttribute('style', 'color: red');
  await all;
  if (body.hidden) throw new Error('The script ran.');
  for (const element of tries) element.remove();
  return refused.sort();
}`;

const sorted = (rows: readonly (readonly string[])[]) => rows.map((row) => row.join(' ')).sort();

/** The cells of the table's rows, without its head. */
async function rowsOf(page: Awaited<ReturnType<Workbench['webview']>>): Promise<string[][]> {
  const rows = page.locator('vscode-data-grid-row:not([row-type="header"])');
  await rows.first().waitFor();
  return Promise.all(
    (await rows.all()).map(async (row) =>
      (await row.locator('vscode-data-grid-cell').allInnerTexts()).map((text) => text.trim()),
    ),
  );
}
