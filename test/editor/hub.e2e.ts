/** A model of a hub on loopback: looked at, downloaded, cancelled and resumed, listed and calibrated. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, it } from 'vitest';
import { repositoryFrom, startHub, type TestHub } from '../../engine/hub/testing.js';
import { calibrate } from './calibrate.js';
import { addSettings, emptyFolder, sampleFolder } from './folders.js';
import { startServer } from './server.js';
import { launchBrowser, openWorkbench, press, treeRow } from './workbench.js';

let browser: Browser;
let hub: TestHub;
let cache: string;

beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(() => browser.close());
beforeEach(async () => {
  hub = await startHub();
  cache = await mkdtemp(join(tmpdir(), 'hub cache '));
  const sample = join(import.meta.dirname, '../../samples/vit-fashion');
  hub.add('org/vit-fashion', repositoryFrom(sample, { licence: 'mit' }));
});
afterEach(async () => {
  await hub.close();
  await rm(cache, { recursive: true, force: true });
});

const environment = () => ({ HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache });

it('a model of the hub is looked at, downloaded in two goes, listed and calibrated', async () => {
  const folder = await sampleFolder('hub', []);
  const server = await startServer({ vsix: [inject('vsix')], env: environment() });
  const editor = await openWorkbench(browser, server, folder.path);
  try {
    await editor.openSidebar();
    await editor.run('Elastic Precision: Add Model from Hugging Face…');
    await editor.type(`${hub.endpoint}/org/vit-fashion`, 'Name of the model');
    const rows = editor.page.locator('.quick-input-widget .monaco-list-row');
    await rows.filter({ hasText: 'model.safetensors' }).waitFor();
    for (const text of [/Image classification.*vit.*licence mit/i, /^direct, .*of memory/])
      await rows.filter({ hasText: text }).first().waitFor();
    expect(await readdir(cache)).toEqual([]);

    hub.fail('model.safetensors', { slow: 500, times: 9 });
    await editor.pick(/^Download .*B$/);
    const jobs = await editor.view('Jobs');
    await treeRow(jobs, /Download org\/vit-fashion.*[1-9]\d?\s?%/).waitFor();
    await press(jobs, 'Download org/vit-fashion', 'Cancel Job');
    await treeRow(jobs, /Download org\/vit-fashion.*cancelled at/).waitFor();

    hub.fail('model.safetensors', {});
    hub.requests.length = 0;
    await press(jobs, 'Download org/vit-fashion', 'Resume Job');
    await editor.notification(/org\/vit-fashion is here/).waitFor();
    const fetched = hub.requests.filter(({ server: at }) => at === 'store');
    expect(fetched).toMatchObject([{ range: expect.stringMatching(/^bytes=[1-9]\d*-$/) as string }]);
    const models = await editor.view('Models');
    await treeRow(models, 'org/vit-fashion').waitFor();

    await editor.run('Elastic Precision: Calibrate Model…');
    await calibrate(editor, {
      model: /org\/vit-fashion/,
      method: 'Rounding',
      mode: 'Weights only',
      bits: [4, 8],
      name: 'from the hub',
    });
    const sets = await editor.view('Adapter Sets');
    await treeRow(sets, 'from the hub').waitFor();
    expect(editor.errors).toEqual([]);
  } catch (error) {
    await editor.picture('hub');
    throw error;
  } finally {
    await editor.close();
    await server.stop();
    await folder.remove();
  }
});

it('a folder that is not trusted downloads nothing, and names no hub and no cache', async () => {
  const folder = await emptyFolder('untrusted hub');
  await addSettings(folder.path, {
    'elasticPrecision.models.huggingFaceCache': true,
    'terminal.integrated.env.linux': { HF_ENDPOINT: 'http://127.0.0.1:1' },
  });
  const server = await startServer({ vsix: [inject('vsix')], trust: true, env: environment() });
  const editor = await openWorkbench(browser, server, folder.path);
  try {
    await editor.page.locator('.statusbar-item', { hasText: 'Restricted Mode' }).waitFor();
    await editor.openSidebar();
    const models = await editor.view('Models');
    await models.getByText('No Transformer checkpoint').waitFor();
    await editor.page.keyboard.press('F1');
    await editor.page
      .locator('.quick-input-widget input[type="text"]')
      .fill('>Elastic Precision: Add Model from Hugging Face');
    // Others are offered in its place.
    await editor.page.getByText('similar commands').waitFor();
    const offered = editor.page.locator('.quick-input-widget .label-name');
    expect(await offered.filter({ hasText: 'Hugging Face' }).count()).toBe(0);
    expect(hub.requests).toEqual([]);
  } catch (error) {
    await editor.picture('hub-untrusted');
    throw error;
  } finally {
    await editor.close();
    await server.stop();
    await folder.remove();
  }
});
