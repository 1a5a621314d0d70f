/**
 * A toy family: post-norm blocks, as BERT has them, in two stages of different width and number of tokens, as Swin's. Those
 * of a `conditioned` model read a vector that every token gets a share of, and in the first stage a mask of tokens. Those of
 * one with `towers` read a vector that a chain makes of a time, and in the second stage what another makes of the picture,
 * which reads the vector as well.
 */
import type { Value } from '../engine/graph/ir.js';
import * as op from '../engine/graph/ops.js';
import { attention } from '../engine/models/attention.js';
import type { Family } from '../engine/models/family.js';
import type { Builder, Part, SidePort, Tower } from '../engine/models/model.js';

export const TINY_STAGES = {
  architectures: ['StagesForImageClassification'],
  model_type: 'stages',
  image_size: 8,
  hidden_size: 8,
  num_labels: 6,
};

/** What a conditioned model reads beside pictures: a vector [3], and what is added to the scores of each of 16 tokens. */
export const CONDITION: SidePort = { name: 'condition', shape: (batch) => [batch, 3] };
export const MASK: SidePort = { name: 'mask', shape: (batch) => [batch, 16] };

/** What a model with towers reads beside pictures, and the features that its second stage attends to. */
export const TIME = 'time';
const COARSE: SidePort = { name: 'coarse', shape: (batch) => [batch * 4, 16] };

const HEADS = 2;
const EPSILON = 1e-6;

/** Pictures of one channel in patches of 2×2: [batch, 1, side, side] → [batch·(side/2)², width]. */
const stem = (prefix: string, side: number, width: number): Part => {
  const tokens = (side / 2) ** 2;
  return {
    prefix,
    kind: 'stem',
    inputShape: (batch) => [batch, 1, side, side],
    outputShape: (batch) => [batch * tokens, width],
    forward: (b, x, batch) => {
      const patches = squares(op.reshape(x, [batch * side * side, 1]), batch, side);
      const embedded = op.reshape(b.linear('projection', patches, width), [batch, tokens, width]);
      return op.reshape(op.add(embedded, b.parameter('positions', [1, tokens, width])), [
        batch * tokens,
        width,
      ]);
    },
  };
};

/** The channels of 2×2 neighbours side by side: [batch·side², width] → [batch·(side/2)², 4·width]. */
function squares(x: Value, batch: number, side: number): Value {
  const width = x.shape[1]!;
  const half = side / 2;
  const apart = op.reshape(x, [batch * half, 2, half, 2, width]);
  return op.reshape(op.transpose(apart, [0, 2, 1, 3, 4]), [batch * half * half, 4 * width]);
}

const block = (prefix: string, tokens: number, width: number, side: readonly SidePort[]): Part => ({
  prefix,
  kind: ['block', tokens, ...side.map(({ name }) => name)].join(' '),
  inputShape: (batch) => [batch * tokens, width],
  outputShape: (batch) => [batch * tokens, width],
  side,
  forward: (b, input, batch, { condition, mask, coarse }) => {
    const x = condition ? conditioned(b, input, condition, batch) : input;
    const q = b.linear('query', x, width);
    const [k, v] = ['key', 'value'].map((name) => b.linear(name, coarse ?? x, width)) as [Value, Value];
    const shared = mask ? { mask: op.reshape(mask, [batch, 1, 1, tokens]) } : {};
    const mixed = b.linear(
      'output',
      attention(b, 'attention', { q, k, v }, batch, { heads: HEADS, ...shared }),
      width,
    );
    const attended = b.layerNorm('attention_norm', op.add(x, mixed), EPSILON);
    const activated = op.gelu(b.linear('up', attended, 2 * width));
    return b.layerNorm('output_norm', op.add(attended, b.linear('down', activated, width)), EPSILON);
  },
});

/** Adds a linear layer of the condition [batch, n] to every token of [batch·tokens, width]. */
function conditioned(b: Builder, x: Value, condition: Value, batch: number): Value {
  const width = x.shape[1]!;
  const share = op.reshape(b.linear('conditioning', condition, width), [batch, 1, width]);
  return op.reshape(op.add(op.reshape(x, [batch, x.shape[0]! / batch, width]), share), x.shape);
}

/** A quarter of the tokens, twice the channels. */
const merging = (prefix: string, side: number, width: number): Part => ({
  prefix,
  kind: 'merging',
  inputShape: (batch) => [batch * side * side, width],
  outputShape: (batch) => [(batch * side * side) / 4, 2 * width],
  forward: (b, x, batch) => {
    const normal = b.layerNorm('norm', squares(x, batch, side), EPSILON);
    return b.linear('reduction', normal, 2 * width, { bias: false });
  },
});

/** Two layers: a time [batch, 3] → a condition [batch, 3]. */
const conditioning: Tower = {
  name: CONDITION.name,
  input: TIME,
  stem: {
    prefix: 'stages.time.',
    kind: 'time',
    inputShape: (batch) => [batch, 3],
    outputShape: (batch) => [batch, 6],
    forward: (b, x) => b.linear('embedding', x, 6),
  },
  blocks: [
    {
      prefix: 'stages.condition.',
      kind: 'condition',
      inputShape: (batch) => [batch, 6],
      outputShape: (batch) => [batch, 3],
      forward: (b, x) => b.linear('layer', op.gelu(x), 3),
    },
  ],
};

/** The mean of the tokens, normalised without parameters. */
const head = (tokens: number, width: number, classes: number): Part => ({
  prefix: '',
  kind: 'head',
  inputShape: (batch) => [batch * tokens, width],
  outputShape: (batch) => [batch, classes],
  forward: (b: Builder, x, batch) => {
    const mean = op.reshape(op.reduceMean(op.reshape(x, [batch, tokens, width]), [1]), [batch, width]);
    return b.linear('classifier', b.layerNorm('norm', mean, EPSILON, { affine: false }), classes);
  },
});

export const stages: Family = {
  modelType: 'stages',
  architectures: ['StagesForImageClassification'],
  build: (config) => {
    const side = config.size('image_size');
    const width = config.size('hidden_size');
    const classes = config.classes().count;
    const hasTowers = config.flag('towers', false);
    const [first, second] = hasTowers
      ? [[CONDITION], [CONDITION, COARSE]]
      : config.flag('conditioned', false)
        ? [[CONDITION, MASK], [CONDITION]]
        : [[], []];
    const grid = side / 2;
    const [many, few] = [grid ** 2, (grid / 2) ** 2];
    const coarse: Tower = {
      name: COARSE.name,
      stem: stem('stages.coarse.embeddings.', side, width),
      blocks: [
        merging('stages.coarse.0.', grid, width),
        block('stages.coarse.1.', few, 2 * width, [CONDITION]),
      ],
    };
    return {
      ...(hasTowers && { towers: [conditioning, coarse] }),
      family: 'stages',
      task: 'image-classification',
      reads: 'pixels',
      stem: stem('stages.embeddings.', side, width),
      blocks: [
        block('stages.blocks.0.', many, width, first),
        merging('stages.blocks.1.', grid, width),
        block('stages.blocks.2.', few, 2 * width, second),
        block('stages.blocks.3.', few, 2 * width, second),
      ],
      head: head(few, 2 * width, classes),
      image: { channels: 1, height: side, width: side },
      classes,
      classNames: config.classes().names,
    };
  },
};
