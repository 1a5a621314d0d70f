/** BEiT (Bao et al. 2022), Hugging Face layout `beit`: a ViT with scaled branches and biases for offsets between patches. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import type { Family } from '../family.js';
import type { Builder, Part, VisionModel } from '../model.js';
import { gridOf, meanOfTokens, patchesIn } from '../vision/patches.js';
import { offsetOf, offsetsIn, pairBias, requirePairs } from '../vision/offsets.js';
import { finalTokens, otherVitNames, readVitConfig, vitBlock, vitStem, type VitConfig } from '../vit/vit.js';

/** Of the class token to patches, of patches to it, and to itself: one row each, after those of offsets. */
const CLASS_ROWS = 3;

const LAST = 'relative_position_bias_table';
const TABLE = `relative_position_bias.${LAST}`;
/** Of the biases that all blocks share. */
const SHARED = `beit.encoder.${TABLE}`;

/** A learned bias for every pair of tokens and head, the class token first: [1, heads, tokens, tokens]. */
function tokenBias(b: Builder, config: VitConfig, storedName?: string): Value {
  const grid = gridOf(config);
  const offsets = offsetsIn(grid);
  const table = b.parameter(`attention.attention.${TABLE}`, [offsets + CLASS_ROWS, config.heads], {
    ...(storedName !== undefined && { storedName }),
  });
  return pairBias(table, patchesIn(grid) + 1, (query, key) => {
    if (query > 0 && key > 0) return offsetOf(grid, query - 1, key - 1);
    return offsets + (query > 0 ? 1 : key > 0 ? 0 : 2);
  });
}

/** Classifies the normed mean of all patches, or the class token of the normed stream. */
function head(config: VitConfig, isMean: boolean): Part {
  const { features, epsilon, classes } = config;
  const patches = patchesIn(gridOf(config));
  const mean = (b: Builder, x: Value, batch: number) => {
    const own = op.slice(op.reshape(x, [batch, patches + 1, features]), 1, 1, patches + 1);
    return b.layerNorm('beit.pooler.layernorm', meanOfTokens(own), epsilon);
  };
  return {
    prefix: '',
    kind: 'head',
    inputShape: (batch) => [batch * (patches + 1), features],
    outputShape: (batch) => [batch, classes],
    forward: (b, x, batch) =>
      b.linear(
        'classifier',
        isMean ? mean(b, x, batch) : finalTokens(b, 'beit.layernorm', x, config, batch, 1)[0]!,
        classes,
      ),
  };
}

export const beit: Family = {
  modelType: 'beit',
  architectures: ['BeitForImageClassification'],
  otherNames: (name) =>
    name === SHARED ? [`beit.shared_position_bias.${LAST}`, `encoder.${TABLE}`] : otherVitNames('beit')(name),
  ignores: /(^|\.)(relative_position_index|embeddings\.mask_token)$/,
  build: (modelConfig) => {
    const config = readVitConfig(modelConfig);
    const grid = gridOf(config);
    if (config.patch.height !== config.patch.width || grid.rows !== grid.columns)
      modelConfig.fail(
        'image_size',
        `makes ${grid.rows}×${grid.columns} patches; BEiT is supported for square pictures and patches`,
      );
    const own = modelConfig.flag('use_relative_position_bias', false);
    const shared = modelConfig.flag('use_shared_relative_position_bias', false);
    if (own && shared)
      modelConfig.fail(
        'use_shared_relative_position_bias',
        'is true beside "use_relative_position_bias"; blocks have a bias of their own or share one',
      );
    const isScaled = modelConfig.optionalAmount('layer_scale_init_value', 0.1) !== undefined;
    const { image, depth, classes, classNames } = config;
    const tokens = patchesIn(grid) + 1;
    if (own || shared) requirePairs(modelConfig, 'image_size', tokens ** 2);
    const traits = {
      keyBias: false,
      ...(isScaled && { scales: ['lambda_1', 'lambda_2'] as const }),
      ...((own || shared) && {
        bias: (b: Builder) => tokenBias(b, config, shared ? SHARED : undefined),
      }),
    };
    return {
      family: 'beit',
      task: 'image-classification',
      reads: 'pixels',
      stem: vitStem(
        config,
        'beit',
        ['cls_token'],
        modelConfig.flag('use_absolute_position_embeddings', false),
      ),
      blocks: Array.from({ length: depth }, (_, index) => vitBlock(config, 'beit', index, tokens, traits)),
      head: head(config, modelConfig.flag('use_mean_pooling', true)),
      image,
      classes,
      classNames,
    } satisfies VisionModel;
  },
};
