/** Folders that are not what one hopes for: an empty one, and one that is not trusted. */
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { addSettings, emptyFolder, sampleFolder } from './folders.js';
import { processesOf } from './processes.js';
import { startServer } from './server.js';
import { launchBrowser, openWorkbench, treeRow } from './workbench.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());

it('an empty folder is welcomed, and one action brings the samples', async () => {
  const folder = await emptyFolder('nothing here');
  const editor = await openWorkbench(browser, { url: inject('serverUrl') }, folder.path);
  await editor.openSidebar();
  const models = await editor.view('Models');
  await models.getByText('No Transformer checkpoint').waitFor();
  await models.getByRole('button', { name: 'Copy Sample Models into Folder' }).click();
  await treeRow(models, 'vit-fashion').waitFor();
  await treeRow(models, 'llama-speeches').waitFor();
  const sets = await editor.view('Adapter Sets');
  await sets.getByText('No adapter set yet').waitFor();
  await access(join(folder.path, 'elastic-precision-samples/vit-fashion/model.safetensors'));
  expect(editor.errors).toEqual([]);
  await editor.close();
  await folder.remove();
});

it('a folder that is not trusted shows its models, but runs nothing and chooses no executable or path', async () => {
  const folder = await sampleFolder('untrusted', ['vit-fashion']);
  const elsewhere = await sampleFolder('elsewhere', ['llama-speeches']);
  const marker = join(folder.path, 'ran');
  const evil = join(folder.path, 'evil.js');
  await writeFile(evil, `require('node:fs').writeFileSync(${JSON.stringify(marker)}, '');`);
  await addSettings(folder.path, {
    'elasticPrecision.engine.path': evil,
    'elasticPrecision.models.folders': [elsewhere.path],
  });
  const server = await startServer({ vsix: [inject('vsix')], trust: true });
  const editor = await openWorkbench(browser, server, folder.path);
  await editor.page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor();
  await editor.openSidebar();
  const models = await editor.view('Models');
  await treeRow(models, 'vit-fashion').waitFor();
  expect(await models.getByText('llama-speeches').count()).toBe(0);
  const sets = await editor.view('Adapter Sets');
  await sets.getByText('Calibrating needs a trusted workspace').waitFor();
  await treeRow(models, 'vit-fashion').hover();
  expect(await treeRow(models, 'vit-fashion').locator('.action-item:not(.disabled)').count()).toBe(0);
  await expect(access(marker)).rejects.toThrow();

  const extension = await server.extension();
  expect(await processesOf(extension, 'engine')).toHaveLength(1);
  await editor.close();
  await server.stop();
  expect(await processesOf(extension, 'engine')).toEqual([]);
  await folder.remove();
  await elsewhere.remove();
});
