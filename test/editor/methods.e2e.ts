/** A language model by methods other than the default one: asked for only what each needs, in the tree, and compared. */
import { describe, expect, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder } from './folders.js';
import { shareWindow } from './share.js';
import { expand, press, treeRow, type Workbench } from './workbench.js';

let editor: Workbench;

shareWindow(
  () => sampleFolder('methods', ['llama-speeches']),
  (shared) => ({ editor } = shared),
);

describe('rounding', () => {
  it('asks for neither data nor length, and its set says that there was none', async () => {
    await editor.openSidebar();
    await treeRow(await editor.view('Models'), 'llama-speeches').waitFor();
    await editor.run('Elastic Precision: Calibrate Model…');
    const answers = { method: 'Rounding', mode: 'Weights', bits: [8, 4], name: 'rounded' };
    await calibrate(editor, { model: 'llama-speeches', ...answers });
    await editor.notification(/"rounded"/).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    expect(await treeRow(sets, 'rounded').innerText()).toMatch(/8, 4 bits · weights · Rounding/);
    await expand(sets, 'rounded');
    await treeRow(sets, 'rounded to nearest').waitFor();
    await treeRow(sets, 'No calibration set').waitFor();
  });
});

describe('GPTQ', () => {
  it('asks for samples and no epochs, has options, and one mode', async () => {
    await press(await editor.view('Models'), 'llama-speeches', 'Calibrate Model…');
    await editor.pick('GPTQ');
    await editor.pickSeveral(['8 bits', '4 bits']);
    await editor.pick(/Sample: /);
    await editor.pick(/^\s*CPU/);
    await editor.pick('Custom…');
    await editor.type('4', 'Samples to calibrate on');
    await editor.type('second-order', 'Name of the adapter set');
    await editor.pick('Options of GPTQ…');
    await editor.pick('groupSize');
    await editor.type('64', 'input columns that share a scale');
    await editor.pick('Start calibration');
    await editor.notification(/"second-order"/).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    expect(await treeRow(sets, 'second-order').innerText()).toMatch(/8, 4 bits · weights · GPTQ/);
    await expand(sets, 'second-order');
    await treeRow(sets, /4 bits.*scale per 64 columns/).waitFor();
    await treeRow(sets, /calibration\.txt.*4 samples/).waitFor();
  });

  it('is compared with itself and with rounding, on what its set was calibrated on', async () => {
    await press(await editor.view('Adapter Sets'), 'second-order', 'Evaluate Adapter Set…');
    const page = await editor.webview('Evaluation: llama-speeches');
    await page.getByRole('checkbox', { name: 'second-order', checked: true }).waitFor();
    await page.getByRole('checkbox', { name: 'Rounding', checked: true }).waitFor();
    await page.getByRole('checkbox', { name: 'GPTQ' }).click();
    await page.getByText('calibration.txt').waitFor();
    await page.getByRole('button', { name: 'Choose…' }).first().click();
    await editor.pick(/Sample: /);
    await page.getByText('evaluation.txt').waitFor();
    await page.getByRole('textbox', { name: 'Samples' }).fill('2');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await page.getByText('Results', { exact: true }).waitFor();
    const rows = page.locator('vscode-data-grid-row:not([row-type="header"])');
    const texts = await rows.allInnerTexts();
    expect(
      texts
        .map((text) =>
          text
            .trim()
            .split(/\s*\n\s*/)
            .slice(0, 2)
            .join(' '),
        )
        .sort(),
    ).toEqual([
      'Full precision –',
      'GPTQ 4',
      'GPTQ 8',
      'Rounding 4',
      'Rounding 8',
      'second-order 4',
      'second-order 8',
    ]);
    expect(editor.errors).toEqual([]);
  });
});
