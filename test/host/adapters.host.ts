import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as vscode from 'vscode';
import type { AdaptersNode, EvaluationNode, SetNode } from '../../src/adapters/nodes.js';
import type { Context } from '../../src/context.js';
import {
  context,
  copyModel,
  draw,
  eventually,
  find,
  jobIn,
  run,
  shortCalibration,
  startCalibration,
  tooltipOf,
  workspace,
} from './support.js';

const MODEL = 'adapted vit';
let extension: Context;
let model: string;

/** Dates and losses are other ones every time. */
const drawing = async () =>
  (await draw(extension.trees.adapters))
    .replace(/[A-Z][a-z]{2} \d{1,2}, \d{4}/g, 'DATE')
    .replace(/loss [\d.e-]+ → [\d.e-]+( · not improved, runs as it started)?/g, 'START')
    .replace(/[\d.]+% top-1/g, 'N% top-1');
const untilDrawn = (expected: RegExp) =>
  eventually(extension.adapters.onDidChange, async () => (expected.test(await drawing()) ? true : undefined));
const setNode = (name: string) =>
  find<AdaptersNode, SetNode>(
    extension.trees.adapters,
    (node): node is SetNode => node.kind === 'set' && node.entry.set.name === name,
  );

/** Sets the last weight of a model to a power of two. */
async function change(folder: string, exponent: number): Promise<void> {
  const weights = await open(join(folder, 'model.safetensors'), 'r+');
  const { size } = await weights.stat();
  const value = Buffer.alloc(4);
  value.writeFloatLE(2 ** -exponent);
  await weights.write(value, 0, 4, size - 4);
  await weights.close();
}

describe('the Adapter Sets view', () => {
  before(async () => {
    extension = await context();
    await extension.jobs.all();
    model = await copyModel('vit-fashion', MODEL);
    // As long as it is the same as the sample, the sample is its model too.
    await change(model, 1);
    const { id } = await startCalibration(extension, shortCalibration(model, 'elastic'));
    await jobIn(extension, id, 'finished');
    await untilDrawn(/elastic/);
  });
  after(async () => {
    for (const job of await extension.jobs.all())
      await extension.engine.request('jobs/remove', { id: job.id });
    await rm(model, { recursive: true });
  });

  it('shows a set under its model: bit groups, ranks, losses, calibration set', async () => {
    assert.ok(
      (await drawing()).includes(
        [
          `${MODEL} · vit [model supported]`,
          '  elastic · 8, 4 bits · weights and activations · QuEPT · DATE [adapterSet readable current]',
          '    8 bits · rank 16 · START · bits per weight 8.14 [part]',
          '    4 bits · rank 16 · START · bits per weight 4.12 [part]',
          '    calibration-images-idx3-ubyte.gz · 16 samples [calibration]',
        ].join('\n'),
      ),
      await drawing(),
    );
  });

  it('shows the evaluations of a set, and opens them', async () => {
    const { job } = await extension.engine.request('jobs/start', {
      kind: 'evaluate',
      request: {
        ...{ model, adapters: [join(model, 'adapters', 'elastic')], bits: [8, 4], limit: 32 },
        data: workspace('data', 'fashion-mnist', 'evaluation-images-idx3-ubyte.gz'),
        ...{ device: 'cpu', threads: 1, save: 'thirty-two pictures' },
      },
    });
    await jobIn(extension, job.id, 'finished');
    await untilDrawn(/thirty-two pictures · N% top-1 at 4 bits · DATE \[evaluation readable\]/);
    const node = await find<AdaptersNode, EvaluationNode>(
      extension.trees.adapters,
      (other): other is EvaluationNode => other.kind === 'evaluation',
    );
    await run('openEvaluation', node);
    const titles = () => vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs.map(({ label }) => label));
    await eventually(vscode.window.tabGroups.onDidChangeTabs as never, () =>
      titles().find((title) => title.includes(MODEL)),
    );
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('opens the config of a set', async () => {
    await run('openConfig', await setNode('elastic'));
    const { document } = vscode.window.activeTextEditor!;
    assert.equal(basename(document.uri.fsPath), 'adapter_config.json');
    assert.match(document.getText(), /"method": \{\s+"name": "quept"/);
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('follows a set that is renamed', async () => {
    await extension.engine.request('adapters/rename', {
      path: join(model, 'adapters', 'elastic'),
      name: 'renämed set',
    });
    await untilDrawn(/renämed set/);
    assert.ok(existsSync(join(model, 'adapters', 'renämed set', 'adapter_config.json')));
  });

  it('shows a set that cannot be read, and why', async () => {
    const config = join(model, 'adapters', 'renämed set', 'adapter_config.json');
    const text = await readFile(config, 'utf8');
    await writeFile(config, '{ "schema_version": 99 }');
    await untilDrawn(/renämed set · cannot be read \[adapterSet\]/);
    const item = await extension.trees.adapters.provider.getTreeItem(await setNode('renämed set'));
    assert.match(tooltipOf(item), /newer version/);
    await writeFile(config, text);
    await untilDrawn(/renämed set · 8, 4 bits/);
  });

  it('marks a set whose model has changed since', async () => {
    await change(model, 2);
    await untilDrawn(/renämed set · model has changed · 8, 4 bits .*\[adapterSet readable\]/);
  });
});
