/** Names that others wrote, and what is deleted by them: a message that is clicked, and *Delete* in the sidebar. */
import { readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder, type TestFolder } from './folders.js';
import { shareWindow } from './share.js';
import { treeRow, type Workbench } from './workbench.js';

/** In a message the editor would make a link of it, which opens another view. */
const MODEL = '[open](command:workbench.view.search)';
/** As it is shown, with what keeps it from being a link. */
const SHOWN = /^\s*\[open\]\u2060?\(command:workbench\.view\.search\)/;

let folder: TestFolder;
let editor: Workbench;

shareWindow(
  async () => {
    const made = await sampleFolder('names', ['llama-speeches']);
    await rename(join(made.path, 'llama-speeches'), join(made.path, MODEL));
    return made;
  },
  (shared) => ({ folder, editor } = shared),
);

it('a model’s name in a message is text, and a click on it opens nothing', async () => {
  await editor.openSidebar();
  await treeRow(await editor.view('Models'), SHOWN).waitFor();
  await editor.run('Elastic Precision: Calibrate Model…');
  const answers = { method: 'Rounding', mode: 'Weights only', bits: [8, 4], name: 'rounded' };
  await calibrate(editor, { model: SHOWN, ...answers });
  const toast = editor.notification(/"rounded"/);
  await toast.waitFor({ timeout: 180_000 });
  const message = toast.locator('.notification-list-item-message');
  expect((await message.innerText()).replaceAll('\u2060', '')).toContain(MODEL);
  expect(await message.locator('a').count()).toBe(0);
  const [x, y] = await editor.page.evaluate<[number, number]>(PLACE_OF_WORD);
  await editor.page.mouse.click(x, y);
  // Whatever the click has set off is through when the palette answers.
  await editor.run('Elastic Precision: Show Log');
  expect(await editor.page.locator('.search-view').filter({ visible: true }).count()).toBe(0);
  await (await editor.view('Adapter Sets')).waitFor();
});

/** The middle of the word that would be the link. */
const PLACE_OF_WORD = `(() => {
  const message = document.querySelector('.notifications-toasts .notification-list-item-message');
  const walker = document.createTreeWalker(message, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.textContent.indexOf('open');
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + 4);
    const { x, y, width, height } = range.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  }
})()`;

it('Delete removes the files of the set alone, after it has said which', async () => {
  const set = join(folder.path, MODEL, 'adapters/rounded');
  await writeFile(join(set, 'notes.txt'), 'mine');
  const before = await readdir(join(folder.path, MODEL));
  const sets = await editor.view('Adapter Sets');
  await treeRow(sets, 'rounded').click();
  await editor.page.keyboard.press('Delete');
  const dialog = editor.page.locator('.monaco-dialog-box');
  await dialog.getByText('Move the adapter set "rounded" to the trash?').waitFor();
  const detail = await dialog.innerText();
  expect(detail).toContain(
    'Deleted: adapter_model.safetensors, adapter_config.json. The model is not changed.',
  );
  expect(detail).toContain('The folder stays, with what is not part of the set: notes.txt.');
  await dialog.getByRole('button', { name: 'Move to Trash' }).click();
  // A server has none.
  await dialog.getByText('It could not be moved to the trash. Delete it permanently?').waitFor();
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
  await treeRow(sets, 'rounded').waitFor({ state: 'detached' });
  expect(await readdir(set)).toEqual(['notes.txt']);
  expect(await readdir(join(folder.path, MODEL))).toEqual(before);
  await treeRow(await editor.view('Models'), SHOWN).waitFor();
  expect(editor.errors).toEqual([]);
});
