/** The engine ends when it should not, and when it should. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, inject, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder, type TestFolder } from './folders.js';
import { processesOf } from './processes.js';
import { launchBrowser, openWorkbench, press, treeRow, type Workbench } from './workbench.js';

let browser: Browser;
let folder: TestFolder;
let editor: Workbench;

beforeAll(async () => {
  folder = await sampleFolder('killed', ['vit-fashion']);
  browser = await launchBrowser();
  editor = await openWorkbench(browser, { url: inject('serverUrl') }, folder.path);
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') await editor.picture(task.name);
});
afterAll(async () => {
  await browser.close();
  await folder.remove();
});

const ours = (bundle: string) => processesOf(inject('extension'), bundle);

it('killed in the middle of a job, is started again, and the job goes on to its end', async () => {
  const others = new Set(await ours('engine'));
  await editor.openSidebar();
  await press(await editor.view('Models'), 'vit-fashion', 'Calibrate Model…');
  await calibrate(editor, { bits: [8, 4], samples: 128, epochs: 12, name: 'survivor' });
  const jobs = await editor.view('Jobs');
  await treeRow(jobs, /Calibrate vit-fashion.*[1-9]\d* %/).waitFor();
  const engines = (await ours('engine')).filter((id) => !others.has(id));
  expect(engines).toHaveLength(1);
  process.kill(engines[0]!, 'SIGKILL');
  await editor.notification('"Calibrate vit-fashion" was interrupted. Resume it?').waitFor();
  expect(await treeRow(jobs, 'Calibrate vit-fashion').innerText()).toMatch(/interrupted at [1-9]\d* %/);
  await editor.notification('was interrupted').getByRole('button', { name: 'Resume' }).click();
  await editor.notification(/done in .*"survivor"/).waitFor({ timeout: 180_000 });
  const restarted = (await ours('engine')).filter((id) => !others.has(id));
  expect(restarted).toHaveLength(1);
  expect(restarted).not.toEqual(engines);
});
