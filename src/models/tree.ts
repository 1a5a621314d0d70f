/** The Models view: checkpoints, their blocks, their layers. */
import { basename, dirname } from 'node:path';
import type { ModelReport } from '../../engine/protocol/protocol.js';
import { createTree, rowItem, type Tree, type TreeSource } from '../common/tree.js';
import type { ModelList } from './model-list.js';
import { modelName } from './names.js';
import { blockRow, layerRow, modelRow, problemRow, type ModelsNode } from './nodes.js';

export function createModelsTree(models: ModelList, explained: () => boolean): Tree<ModelsNode> {
  const tree = createTree('elasticPrecision.models', sourceOf(models), explained);
  models.onDidChange(() => tree.refresh());
  return tree;
}

function sourceOf(models: ModelList): TreeSource<ModelsNode> {
  return {
    children: async (node) => {
      if (node === undefined) return (await models.current()).map((model) => ({ kind: 'model', model }));
      if (node.kind === 'block') return node.block.layers.map((layer) => ({ ...node, kind: 'layer', layer }));
      if (node.kind !== 'model' || !node.model.supported) return [];
      const model = node.model;
      const description = await models.describe(model.path);
      if (!description.supported) return [{ kind: 'problem', model, reason: description.reason }];
      return description.blocks.map((block) => ({ kind: 'block', model, block }));
    },
    item: (node) => {
      switch (node.kind) {
        case 'model':
          return rowItem(modelRow(node, folderToTellApart(node.model, models.known())));
        case 'block':
          return rowItem(blockRow(node));
        case 'layer':
          return rowItem(layerRow(node));
        case 'problem':
          return rowItem(problemRow(node));
      }
    },
    parent: (node) => {
      switch (node.kind) {
        case 'model':
          return undefined;
        case 'layer':
          return { kind: 'block', model: node.model, block: node.block };
        case 'block':
        case 'problem':
          return { kind: 'model', model: node.model };
      }
    },
  };
}

/** The folder that a model lies in, where another model has its name. */
function folderToTellApart(model: ModelReport, all: readonly ModelReport[]): string | undefined {
  const name = modelName(model);
  const twin = all.some((other) => other.path !== model.path && modelName(other) === name);
  return twin ? basename(dirname(model.path)) : undefined;
}
