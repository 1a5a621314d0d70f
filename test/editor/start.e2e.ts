/**
 * A person's first steps: the walkthrough from its first step to its last, each ticked once it is done, and what is
 * done with an adapter set afterwards: another name, and the trash.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { openWalkthrough, STEPS, type Walkthrough } from './walkthrough.js';
import { expand, treeRow, type Workbench } from './workbench.js';

let folder: TestFolder;
let editor: Workbench;

shareWindow(
  () => sampleFolder('first steps', ['vit-fashion']),
  (shared) => ({ folder, editor } = shared),
);

describe('the walkthrough', () => {
  let walkthrough: Walkthrough;

  it('has six steps, none of them done in a window that is new', async () => {
    walkthrough = await openWalkthrough(editor);
    expect(await walkthrough.steps.locator('.step-title').allInnerTexts()).toEqual(STEPS);
    expect(await walkthrough.ticked()).toEqual([]);
  });

  it('ticks each step once it is done', async () => {
    await walkthrough.press('Bring a model', 'Show Models');
    await treeRow(await editor.view('Models'), 'vit-fashion').waitFor();
    await expect.poll(walkthrough.ticked).toEqual(STEPS.slice(0, 1));

    await walkthrough.press('Calibrate it once', 'Calibrate Model');
    await calibrate(editor, { model: 'vit-fashion', bits: [8, 4], samples: 32, epochs: 1, name: 'quick' });
    await treeRow(await editor.view('Jobs'), 'Calibrate vit-fashion').waitFor();
    await expect.poll(walkthrough.ticked).toEqual(STEPS.slice(0, 2));

    await editor.notification('done in').waitFor({ timeout: 180_000 });
    await expect.poll(walkthrough.ticked).toEqual(STEPS.slice(0, 3));

    await walkthrough.press('Compare bit-widths', 'Evaluate Adapter Set');
    await editor.webview('Evaluation: vit-fashion');
    const back = () => editor.page.locator('.tab', { hasText: /Walkthrough|Welcome/ }).click();
    await back();
    await expect.poll(walkthrough.ticked).toEqual(STEPS.slice(0, 4));

    await walkthrough.press('Choose bits for each layer', 'New Precision Plan');
    await editor.saveAs(join(folder.path, 'own.precision.json'), 'New Precision Plan');
    await editor.webview('own.precision.json');
    await back();
    await expect.poll(walkthrough.ticked).toEqual(STEPS.slice(0, 5));
    await editor.run('View: Close All Editors');
  });
});

describe('activation', () => {
  it('is in the log, with how long it took; the editor counts it too', async () => {
    await editor.run('Elastic Precision: Show Log');
    const line = editor.page.locator('.output-view .view-line', { hasText: /Activated\sin/ });
    const own = /Activated\sin\s([\d.]+)\sms/.exec(await line.first().innerText())?.[1];
    expect(own).toBeDefined();
    await editor.run('Developer: Show Running Extensions');
    const row = editor.page.locator('.runtime-extensions-editor .monaco-list-row', { hasText: 'Elastic Precision' }); // prettier-ignore
    const counted = /Activation: (\d+)/.exec(await row.first().innerText())?.[1];
    // eslint-disable-next-line no-console
    console.log(
      `activation: ${own} ms of own work; the editor counts ${counted} ms, reading and waiting too`,
    );
    await editor.run('View: Close All Editors');
  });
});

describe('an adapter set', () => {
  const names = () => readdir(join(folder.path, 'vit-fashion/adapters'));
  const dialog = (text: string) => editor.page.locator('.monaco-dialog-box', { hasText: text });
  const box = () => editor.page.locator('.quick-input-widget').filter({ visible: true });

  it('is renamed; a name that is none is refused with what is wrong with it', async () => {
    const sets = await editor.view('Adapter Sets');
    await expand(sets, 'vit-fashion');
    await treeRow(sets, 'quick').click();
    await editor.page.keyboard.press('F2');
    await editor.type('no/name', 'New name of the adapter set');
    await box().getByText('A name cannot contain').waitFor();
    expect(await names()).toEqual(['quick']);
    await editor.type('better name', 'A name cannot contain');
    await treeRow(sets, 'better name').waitFor();
    expect(await names()).toEqual(['better name']);
  });

  it('is deleted after it was asked twice: a server has no trash', async () => {
    const sets = await editor.view('Adapter Sets');
    const ask = async () => {
      await treeRow(sets, 'better name').click();
      await editor.page.keyboard.press('Delete');
    };
    const answer = async (text: string, button: string) => {
      await dialog(text).getByRole('button', { name: button }).click();
      await dialog(text).waitFor({ state: 'detached' });
    };
    const TRASH = 'Move the adapter set "better name" to the trash?';
    const ERASE = 'It could not be moved to the trash. Delete it permanently?';
    await ask();
    await answer(TRASH, 'Cancel');
    await ask();
    await answer(TRASH, 'Move to Trash');
    await answer(ERASE, 'Cancel');
    expect(await names()).toEqual(['better name']);
    await ask();
    await answer(TRASH, 'Move to Trash');
    await dialog(ERASE).getByText('This cannot be undone.').waitFor();
    await answer(ERASE, 'Delete Permanently');
    await sets.getByText('No adapter set yet').waitFor();
    expect(await names()).toEqual([]);
    expect(editor.errors).toEqual([]);
  });
});
