/** A language model by the usual method and by others: asked for only what each needs, in the tree, compared, and run. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, inject, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { collapse, expand, press, treeRow, type Workbench } from './workbench.js';

const exec = promisify(execFile);
const PLAN = 'mixed.precision.json';

let folder: TestFolder;
let editor: Workbench;

shareWindow(
  () => sampleFolder('methods', ['llama-speeches']),
  (shared) => ({ folder, editor } = shared),
);

describe('the direct method', () => {
  it('is the usual one: data, and go', async () => {
    await editor.openSidebar();
    await treeRow(await editor.view('Models'), 'llama-speeches').waitFor();
    await editor.run('Elastic Precision: Calibrate Model…');
    await editor.pick('llama-speeches');
    await editor.pick(/Sample: /);
    const review = editor.page.locator('.quick-input-widget');
    await review.getByText(/Direct · weights only/).waitFor();
    expect(await review.innerText()).toMatch(/Start calibration\s*about \d+ (s|min)/);
    await editor.pick('Change Length…');
    await editor.pick('Quick trial');
    await editor.pick('Start calibration');
    await editor.notification(/"elastic-2to8"/).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    expect(await treeRow(sets, 'elastic-2to8').innerText()).toMatch(/8–2 bits · weights only · Direct/);
    await expand(sets, 'elastic-2to8');
    await treeRow(sets, /2 bits.*scale per 128 columns/).waitFor();
    await treeRow(sets, /calibration\.txt.*16 samples/).waitFor();
    await collapse(sets, 'elastic-2to8');
  });

  it('is evaluated at every bit-width, beside others', async () => {
    await press(await editor.view('Adapter Sets'), 'elastic-2to8', 'Evaluate Adapter Set…');
    const page = await editor.webview('Evaluation: llama-speeches');
    await page.getByRole('checkbox', { name: 'elastic-2to8', checked: true }).waitFor();
    await page.getByRole('button', { name: 'Choose…' }).first().click();
    await editor.pick(/Sample: /);
    await page.getByText('evaluation.txt').waitFor();
    await page.getByRole('textbox', { name: 'Samples' }).fill('2');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await page.getByText('Results', { exact: true }).waitFor();
    const rows = page.locator('vscode-data-grid-row:not([row-type="header"])', { hasText: 'elastic-2to8' });
    expect(await rows.count()).toBe(7);
    expect(editor.errors).toEqual([]);
  });

  it('has what each bit-width costs each layer, and a plan that is edited and answers a prompt', async () => {
    const cli = join(inject('extension'), 'dist/cli.js');
    const [model, set] = ['llama-speeches', 'llama-speeches/adapters/elastic-2to8'];
    await writeFile(join(folder.path, 'speech.txt'), 'We the people of the United States. '.repeat(80));
    const amount = ['--samples', '2', '--device', 'cpu'];
    const asked = [model, '--adapters', set, '--data', 'speech.txt', ...amount];
    await exec(process.execPath, [cli, 'sensitivity', ...asked], { cwd: folder.path });
    await writeFile(
      join(folder.path, PLAN),
      JSON.stringify({ model, adapters: set, default: 4, layers: {} }),
    );
    await editor.run('View: Show Explorer');
    await editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: PLAN }).dblclick();
    const page = await editor.webview(PLAN);
    await page.getByRole('slider').waitFor();
    const average = () => page.locator('.tile .value').first().innerText();
    expect(await average()).toBe('4.00');
    const query = page.getByRole('row', { name: /^self_attn\.q_proj, / }).first();
    expect(await query.getAttribute('aria-label')).toMatch(/4 bits, model\.layers\.0, cost [\d.e-]+/i);
    await query.locator('[data-bits="8"]').click();
    await expect.poll(average).toBe('4.06');

    await page.locator('.prompt textarea').fill('My fellow citizens');
    await page.getByRole('button', { name: 'Answer', exact: true }).click();
    const answers = () => page.locator('.answers[aria-busy="false"] .answer').allInnerTexts();
    await expect.poll(async () => (await answers()).length, { timeout: 60_000 }).toBe(2);
    for (const answer of await answers()) expect(answer).toMatch(/^(This plan|Full precision)[^]*\w/);
    await page.getByRole('button', { name: 'All 8 bits' }).click();
    await page.getByText(/layers? switched in [\d.]+ ms/).waitFor();
    await expect.poll(average).toBe('8.00');
    expect(editor.errors).toEqual([]);
  });
});

describe('rounding', () => {
  it('needs neither data nor length, and its set says that there was none', async () => {
    await editor.openSidebar();
    await editor.run('Elastic Precision: Calibrate Model…');
    const answers = { method: 'Rounding', mode: 'Weights only', bits: [8, 4], name: 'rounded' };
    await calibrate(editor, { model: 'llama-speeches', ...answers });
    await editor.notification(/"rounded"/).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    expect(await treeRow(sets, 'rounded').innerText()).toMatch(/8, 4 bits · weights only · Rounding/);
    await expand(sets, 'rounded');
    await treeRow(sets, 'rounded to nearest').waitFor();
    await treeRow(sets, 'No calibration set').waitFor();
  });
});

describe('GPTQ', () => {
  it('asks for samples and no epochs, has options, and one mode', async () => {
    await editor.openSidebar();
    // A tree that is filled anew forgets which row was pressed.
    await editor.run('Elastic Precision: Calibrate Model…');
    await editor.pick('llama-speeches');
    await editor.pick(/Sample: /);
    await editor.pick('Change Method…');
    await editor.narrow('How to calibrate', 'GPTQ');
    await editor.pick('GPTQ');
    await editor.pick('Change Bit-Widths…');
    await editor.pickSeveral(['8 bits', '4 bits']);
    await editor.pick('Change Length…');
    await editor.pick('Custom…');
    await editor.type('4', 'Samples to calibrate on');
    await editor.pick('Change Name…');
    await editor.type('second-order', 'Name of the adapter set');
    await editor.pick('Options of GPTQ…');
    await editor.pick('groupSize');
    await editor.type('64', 'input columns that share a scale');
    await editor.pick('Start calibration');
    await editor.notification(/"second-order"/).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    expect(await treeRow(sets, 'second-order').innerText()).toMatch(/8, 4 bits · weights only · GPTQ/);
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
            // Between name and bits stands the method.
            .filter((_, i) => i === 0 || i === 2)
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

describe('OAC', () => {
  const SET = 'loss-aware';
  const MIXED = 'signs.precision.json';

  it('is chosen by what it does, at 4 bits, and at 1', async () => {
    await editor.openSidebar();
    await editor.run('Elastic Precision: Calibrate Model…');
    const widths = { bits: [4, 3, 2, 1], samples: 4, name: SET };
    await calibrate(editor, { model: 'llama-speeches', method: 'OAC', ...widths });
    await editor.notification(new RegExp(`"${SET}"`)).waitFor({ timeout: 180_000 });
    const sets = await editor.view('Adapter Sets');
    const row = treeRow(sets, SET);
    expect(await row.innerText()).toMatch(/4–1 bits · weights only · OAC/);
    const hover = editor.page.locator('.monaco-hover', {
      hasText: /Quantizes weights only at 4–1 bits, by OAC/,
    });
    // A list that is filled anew takes the hover away.
    const isShown = async () => {
      await editor.page.mouse.move(0, 0);
      await row.hover();
      return hover.waitFor({ timeout: 5000 }).then(
        () => true,
        () => false,
      );
    };
    await expect.poll(isShown, { timeout: 60_000 }).toBe(true);
    await expand(sets, SET);
    await treeRow(sets, /2 bits.*bits per weight 2\.14/).waitFor();
    await treeRow(sets, /1 bits?.*stored 2\.\d+ bits per weight \(1\.\d+ as papers count\)/).waitFor();
    await collapse(sets, SET);
  });

  it('is evaluated beside a set of another method, each at its own bit-widths, with what they take', async () => {
    await press(await editor.view('Adapter Sets'), SET, 'Evaluate Adapter Set…');
    const page = await editor.webview('Evaluation: llama-speeches');
    await page.getByRole('checkbox', { name: SET, checked: true }).waitFor();
    await page.getByRole('checkbox', { name: 'rounded', exact: true }).click();
    await page.getByRole('checkbox', { name: '8 bits' }).waitFor();
    // Those of the evaluation before are remembered.
    for (const baseline of ['Rounding', 'GPTQ']) {
      const box = page.getByRole('checkbox', { name: baseline });
      if ((await box.getAttribute('aria-checked')) === 'true') await box.click();
    }
    await page.getByRole('button', { name: 'Choose…' }).first().click();
    await editor.pick(/Sample: /);
    await page.getByText('evaluation.txt').waitFor();
    await page.getByRole('textbox', { name: 'Samples' }).fill('2');
    await page.getByRole('button', { name: 'Evaluate', exact: true }).click();
    await page.getByText('Results', { exact: true }).waitFor({ timeout: 180_000 });
    const rows = page.locator('vscode-data-grid-row:not([row-type="header"])');
    const cells = (await rows.allInnerTexts()).map((text) =>
      text
        .trim()
        .split(/\s*\n\s*/)
        .slice(0, 4),
    );
    expect(cells.filter(([name]) => name === SET).map((own) => own.slice(1))).toEqual([
      ['OAC', '4', '4.16'],
      ['OAC', '3', '3.15'],
      ['OAC', '2', '2.14'],
      ['OAC', '1', expect.stringMatching(/^2\.\d\d$/) as string],
    ]);
    expect(cells.filter(([name]) => name === 'rounded').map((own) => own[1])).toContain('Rounding');
    const legend = await page.locator('.legend li').allInnerTexts();
    expect(legend.map((text) => text.trim())).toEqual(
      expect.arrayContaining([`${SET} · OAC`, 'rounded · Rounding']),
    );
    // A curve for each set, in both charts.
    expect(await page.locator('figure.chart').first().locator('.series').count()).toBe(2);
  });

  it('is planned at 1 to 4 bits, and the plan answers', async () => {
    const cli = join(inject('extension'), 'dist/cli.js');
    const [model, set] = ['llama-speeches', `llama-speeches/adapters/${SET}`];
    const amount = ['--samples', '2', '--device', 'cpu'];
    await writeFile(join(folder.path, 'speech.txt'), 'We the people of the United States. '.repeat(80));
    const asked = [model, '--adapters', set, '--data', 'speech.txt', ...amount];
    await exec(process.execPath, [cli, 'sensitivity', ...asked], { cwd: folder.path });
    await writeFile(
      join(folder.path, MIXED),
      JSON.stringify({ model, adapters: set, default: 4, layers: {} }),
    );
    await editor.run('View: Show Explorer');
    await editor.page.locator('.explorer-folders-view .monaco-list-row', { hasText: MIXED }).dblclick();
    const page = await editor.webview(MIXED);
    await page.getByRole('slider').waitFor();
    const rowsOf = (layer: string) =>
      page.getByRole('row', { name: new RegExp(`^self_attn\\.${layer}, `) }).first();
    for (const [layer, bits] of [
      ['q_proj', 1],
      ['k_proj', 2],
      ['v_proj', 3],
    ] as const)
      await rowsOf(layer).locator(`[data-bits="${bits}"]`).click();
    for (const [layer, bits] of [
      ['q_proj', 1],
      ['k_proj', 2],
      ['v_proj', 3],
      ['o_proj', 4],
    ] as const)
      expect(await rowsOf(layer).getAttribute('aria-label')).toMatch(new RegExp(`${bits} bits?, `));
    await page.locator('.prompt textarea').fill('My fellow citizens');
    await page.getByRole('button', { name: 'Answer', exact: true }).click();
    const answers = () => page.locator('.answers[aria-busy="false"] .answer').allInnerTexts();
    await expect.poll(async () => (await answers()).length, { timeout: 60_000 }).toBe(2);
    for (const answer of await answers()) expect(answer).toMatch(/^(This plan|Full precision)[^]*\w/);
    await page.getByRole('button', { name: /^All 1 bits?$/ }).click();
    await page.getByText(/layers? switched in [\d.]+ ms/).waitFor();
    expect(editor.errors).toEqual([]);
  });
});
