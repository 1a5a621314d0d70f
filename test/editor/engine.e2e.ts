/** The engine ends when it should not, and when it should. */
import { expect, inject, it } from 'vitest';
import { calibrate } from './calibrate.js';
import { sampleFolder } from './folders.js';
import { processesOf } from './processes.js';
import { shareWindow } from './share.js';
import { press, treeRow, type Workbench } from './workbench.js';

let editor: Workbench;

shareWindow(
  () => sampleFolder('killed', ['vit-fashion']),
  (shared) => ({ editor } = shared),
);

const ours = (bundle: string) => processesOf(inject('extension'), bundle);

it('killed in the middle of a job, is started again, and the job goes on to its end', async () => {
  const others = new Set(await ours('engine'));
  await editor.openSidebar();
  await press(await editor.view('Models'), 'vit-fashion', 'Calibrate Model…');
  await calibrate(editor, { bits: [8, 4], samples: 128, epochs: 12, name: 'survivor' });
  const jobs = await editor.view('Jobs');
  await treeRow(jobs, /Calibrate vit-fashion.*[1-9]\d*%/).waitFor();
  const engines = (await ours('engine')).filter((id) => !others.has(id));
  expect(engines).toHaveLength(1);
  process.kill(engines[0]!, 'SIGKILL');
  await editor.notification('"Calibrate vit-fashion" was interrupted. Resume it?').waitFor();
  expect(await treeRow(jobs, 'Calibrate vit-fashion').innerText()).toMatch(/interrupted at [1-9]\d*%/);
  await editor.notification('was interrupted').getByRole('button', { name: 'Resume' }).click();
  await editor.notification(/done in .*"survivor"/).waitFor({ timeout: 180_000 });
  const restarted = (await ours('engine')).filter((id) => !others.has(id));
  expect(restarted).toHaveLength(1);
  expect(restarted).not.toEqual(engines);
});
