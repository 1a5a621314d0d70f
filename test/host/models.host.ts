import assert from 'node:assert/strict';
import { cp, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../../src/context.js';
import type { ModelsNode } from '../../src/models/nodes.js';
import { context, copyModel, draw, eventually, find, run, tooltipOf, workspace } from './support.js';

let extension: Context;
const names = () => extension.models.known().map(({ name }) => name);
/** Waits until the list holds, or no longer holds, a model; the watcher has to notice it. */
const untilListed = (name: string, listed: boolean) =>
  eventually(extension.models.onDidChange, async () => {
    await extension.models.all();
    return names().includes(name) === listed ? true : undefined;
  });

describe('the Models view', () => {
  before(async () => {
    extension = await context();
  });

  it('shows the models of the folder', async () => {
    await extension.models.all();
    assert.equal(
      await draw(extension.trees.models, 0),
      [
        'llama-speeches · 5.48 MB · llama · 1.4 M parameters [model supported]',
        'vit-fashion · 4.8 MB · vit · 1.2 M parameters [model supported]',
      ].join('\n'),
    );
  });

  it('shows blocks, and their layers with shape and size', async () => {
    const drawing = (await draw(extension.trees.models)).split('\n');
    const first = drawing.indexOf('  vit.encoder.layer.0 · 6 layers · 793 kB [block]');
    assert.notEqual(first, -1, drawing.join('\n'));
    assert.deepEqual(drawing.slice(first + 1, first + 7), [
      '    attention.attention.query · 128 × 128 · 66 kB [layer]',
      '    attention.attention.key · 128 × 128 · 66 kB [layer]',
      '    attention.attention.value · 128 × 128 · 66 kB [layer]',
      '    attention.output.dense · 128 × 128 · 66 kB [layer]',
      '    intermediate.dense · 512 × 128 · 264 kB [layer]',
      '    output.dense · 128 × 512 · 263 kB [layer]',
    ]);
    assert.equal(drawing.filter((line) => /^ {2}vit\.encoder/.test(line)).length, 6);
  });

  it('knows the way up from every node, so that it can reveal it', async () => {
    const layer = await find<ModelsNode, ModelsNode>(
      extension.trees.models,
      (node): node is ModelsNode => node.kind === 'layer',
    );
    const { provider } = extension.trees.models;
    const block = (await provider.getParent!(layer))!;
    const model = (await provider.getParent!(block))!;
    assert.deepEqual(
      [block.kind, model.kind, await provider.getParent!(model)],
      ['block', 'model', undefined],
    );
    assert.equal(
      (await provider.getTreeItem(block)).id,
      'block' in block ? `${block.model.path}#${block.block.name}` : '',
    );
  });

  it('says to everyone what a row is', async () => {
    const { provider } = extension.trees.models;
    const visit = async (node: ModelsNode | undefined): Promise<void> => {
      for (const child of (await provider.getChildren(node)) ?? []) {
        const item = await provider.getTreeItem(child);
        assert.match(item.accessibilityInformation!.label, /, (model|block|layer)/);
        await visit(child);
      }
    };
    await visit(undefined);
  });

  it('notices a model that comes and goes', async () => {
    const path = await copyModel('vit-fashion', 'copy of vit ü');
    await untilListed('copy of vit ü', true);
    await rm(path, { recursive: true });
    await untilListed('copy of vit ü', false);
  });

  it('shows a damaged model beside the good ones, and why', async () => {
    await cp(workspace('vit-fashion', 'config.json'), workspace('broken', 'config.json'));
    const weights = workspace('broken', 'model.safetensors');
    await cp(workspace('vit-fashion', 'model.safetensors'), weights);
    await truncate(weights, 100_000);
    await untilListed('broken', true);
    const node = await find<ModelsNode, ModelsNode>(
      extension.trees.models,
      (other): other is ModelsNode => other.kind === 'model' && other.model.name === 'broken',
    );
    const item = await extension.trees.models.provider.getTreeItem(node);
    assert.match(String(item.description), /^not supported · ./);
    assert.equal(item.contextValue, 'model unsupported');
    assert.match(tooltipOf(item), /model\.safetensors/);
    assert.match(await draw(extension.trees.models, 0), /vit-fashion · 4\.8 MB · vit · 1\.2 M parameters/);
    await rm(workspace('broken'), { recursive: true });
    await untilListed('broken', false);
  });

  it('searches again when asked', async () => {
    const before = extension.models.all();
    await run('refresh');
    assert.notEqual(extension.models.all(), before);
    assert.deepEqual(
      (await extension.models.all()).map(({ name }) => name),
      ['llama-speeches', 'vit-fashion'],
    );
  });

  it('passes over what is no model', async () => {
    await writeFile(join(workspace(), 'config.json'), '{}');
    await run('refresh');
    assert.equal((await extension.models.all()).length, 2);
    await rm(join(workspace(), 'config.json'));
  });
});
