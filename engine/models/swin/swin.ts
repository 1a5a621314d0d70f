/**
 * Swin Transformer (Liu et al. 2021), Hugging Face layout `swin`: attention inside windows of patches, in stages of which each has
 * a quarter of the patches of the one before.
 */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { attention } from '../attention.js';
import type { Family } from '../family.js';
import type { Builder, Part } from '../model.js';
import { offsetOf, offsetsIn, pairBias } from '../vision/offsets.js';
import { patchesIn } from '../vision/patches.js';
import {
  otherSwinNames,
  PATCH_EPSILON,
  readSwinConfig,
  stagesOf,
  swinModel,
  type Stage,
  type SwinConfig,
} from './stages.js';
import { countOf, fromWindows, intoWindows, isPadded, shiftMask, type Windows } from './windows.js';

/** Pre-norm block: attention inside windows, then a two-layer perceptron, each added to the stream. */
function swinBlock(config: SwinConfig, stage: Stage, index: number): Part {
  const { epsilon, activation, qkvBias } = config;
  const { grid, features, hidden } = stage;
  const windows = stage.windows(index);
  const mask = shiftMask(windows);
  return {
    prefix: `${stage.prefix}blocks.${index}.`,
    kind: `stage ${stage.index}, ${windows.shift > 0 ? 'moved' : 'still'} windows`,
    inputShape: (batch) => [batch * patchesIn(grid), features],
    outputShape: (batch) => [batch * patchesIn(grid), features],
    forward: (b, x, batch) => {
      const inWindows = normalInWindows(b, x, windows, epsilon, batch);
      const [q, k, v] = ['query', 'key', 'value'].map((name) =>
        b.linear(`attention.self.${name}`, inWindows, features, { bias: qkvBias }),
      ) as [Value, Value, Value];
      const groups = batch * countOf(windows);
      const mixed = attention(b, 'attention.self', { q, k, v }, groups, {
        heads: stage.heads,
        bias: offsetBias(b, 'attention.self.relative_position_bias_table', windows.side, stage.heads),
        ...(mask && { mask: forBatch(mask(x.graph), batch) }),
      });
      const own = b.linear('attention.output.dense', mixed, features);
      const attended = op.add(x, fromWindows(own, windows, batch));
      const after = b.layerNorm('layernorm_after', attended, epsilon);
      const activated = activation(b.linear('intermediate.dense', after, hidden));
      return op.add(attended, b.linear('output.dense', activated, features));
    },
  };
}

/**
 * What the attention's layers read. What fills up windows comes after the norm, and is attended; where nothing does, the norm
 * comes last, so that they read it and it can be folded.
 */
function normalInWindows(b: Builder, x: Value, windows: Windows, epsilon: number, batch: number): Value {
  const norm = (value: Value) => b.layerNorm('layernorm_before', value, epsilon);
  return isPadded(windows) ? intoWindows(norm(x), windows, batch) : norm(intoWindows(x, windows, batch));
}

/** A learned bias for every offset between two patches of a window: [1, heads, side², side²]. */
function offsetBias(b: Builder, name: string, side: number, heads: number): Value {
  const grid = { rows: side, columns: side };
  const table = b.parameter(name, [offsetsIn(grid), heads]);
  return pairBias(table, side * side, (query, key) => offsetOf(grid, query, key));
}

/** A mask of all windows of a picture for those of a batch: [windows, 1, t, t] → [batch·windows, 1, t, t]. */
function forBatch(mask: Value, batch: number): Value {
  const [count, , each] = mask.shape as readonly [number, number, number, number];
  const all = op.expand(op.reshape(mask, [1, count, each * each]), [batch, count, each * each]);
  return op.reshape(all, [batch * count, 1, each, each]);
}

/** The four patches of every square of two by two become one, of twice the features (section 3.1). */
function merging(stage: Stage): Part {
  const { grid, features } = stage;
  const rows = Math.ceil(grid.rows / 2);
  const columns = Math.ceil(grid.columns / 2);
  return {
    prefix: `${stage.prefix}downsample.`,
    kind: `merging ${stage.index}`,
    inputShape: (batch) => [batch * patchesIn(grid), features],
    outputShape: (batch) => [batch * rows * columns, 2 * features],
    forward: (b, x, batch) => {
      const square = op.reshape(x, [batch, grid.rows, grid.columns, features]);
      const even = op.pad(op.pad(square, 1, 0, 2 * rows - grid.rows), 2, 0, 2 * columns - grid.columns);
      const cut = op.reshape(even, [batch, rows, 2, columns, 2, features]);
      // Down before right: upper left, lower left, upper right, lower right.
      const four = op.reshape(op.transpose(cut, [0, 1, 3, 4, 2, 5]), [batch * rows * columns, 4 * features]);
      return b.linear('reduction', b.layerNorm('norm', four, PATCH_EPSILON), 2 * features, { bias: false });
    },
  };
}

export const swin: Family = {
  modelType: 'swin',
  architectures: ['SwinForImageClassification'],
  otherNames: otherSwinNames('swin'),
  ignores: /(^|\.)(relative_position_index|embeddings\.mask_token)$/,
  build: (modelConfig) => {
    const config = readSwinConfig(modelConfig);
    const stages = stagesOf(config, 'swin');
    const small = stages.find(({ grid }) => Math.min(grid.rows, grid.columns) < config.window);
    if (small)
      modelConfig.fail(
        'window_size',
        `is ${config.window}, and stage ${small.index} has ${small.grid.rows}×${small.grid.columns} patches; a window may be as large as the smallest stage`,
      );
    return swinModel(config, stages, 'swin', { block: swinBlock, merging });
  },
};
