/** What both versions of Swin have in common: patches, stages, the head, and the keys that describe them. */
import * as op from '../../graph/ops.js';
import { readActivation, type Activation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import type { Part, VisionModel } from '../model.js';
import {
  cutPatches,
  gridOf,
  meanOfTokens,
  patchesIn,
  patchWeight,
  type Grid,
  type Patching,
} from '../vision/patches.js';
import { requirePairs } from '../vision/offsets.js';
import { readPatching } from '../vision/sizes.js';
import type { Windows } from './windows.js';

export interface SwinConfig extends Patching {
  /** Of the first stage; each has twice those of the one before. */
  readonly features: number;
  /** Blocks by stage. */
  readonly depths: readonly number[];
  readonly heads: readonly number[];
  /** Patches on the side of a window. */
  readonly window: number;
  /** Of a perceptron's hidden layer, those of its stage times this. */
  readonly ratio: number;
  readonly activation: Activation;
  readonly epsilon: number;
  readonly qkvBias: boolean;
  /** Whether the stem adds a position embedding to each patch. */
  readonly isPositioned: boolean;
  readonly classes: number;
  readonly classNames: ReadonlyMap<number, string>;
}

export interface Stage {
  readonly index: number;
  readonly prefix: string;
  readonly grid: Grid;
  readonly features: number;
  readonly heads: number;
  readonly hidden: number;
  /** Those of one of its blocks. */
  windows(this: void, block: number): Windows;
}

/** Of the norms of patches, embedded or merged, whatever "layer_norm_eps" says. */
export const PATCH_EPSILON = 1e-5;

const MAX_STAGES = 8;
const MAX_DEPTH = 1 << 10;
const MAX_WINDOW = 1 << 8;
const MAX_HIDDEN = 1 << 24;

export function readSwinConfig(config: ModelConfig): SwinConfig {
  const patching = readPatching(config, { image: 224, patch: 4 });
  const depths = config.has('depths') ? config.counts('depths') : [2, 2, 6, 2];
  if (depths.length === 0 || depths.length > MAX_STAGES || depths.some((n) => n === 0 || n > MAX_DEPTH))
    config.fail(
      'depths',
      `must be a list of 1 to ${MAX_STAGES} integers from 1 to ${MAX_DEPTH}, found ${depths.join(', ')}`,
    );
  const heads = config.has('num_heads')
    ? config.counts('num_heads', depths.length)
    : [3, 6, 12, 24].slice(0, depths.length);
  const features = config.size('embed_dim', 96, 1 << 16);
  const wrong = depths.findIndex((_, stage) => (features * 2 ** stage) % (heads[stage] ?? 0) !== 0);
  if (wrong >= 0)
    config.fail(
      'num_heads',
      `must divide the features of every stage; stage ${wrong} has ${features * 2 ** wrong}, and ${heads[wrong] ?? 'no'} heads`,
    );
  const ratio = config.positive('mlp_ratio', 4);
  const hidden = [features, features * 2 ** (depths.length - 1)].map((each) => Math.trunc(each * ratio));
  if (hidden[0]! < 1 || hidden[1]! > MAX_HIDDEN)
    config.fail(
      'mlp_ratio',
      `makes hidden layers of ${hidden.join(' to ')} features; 1 to ${MAX_HIDDEN} are supported`,
    );
  const { count, names } = config.classes();
  const window = config.size('window_size', 7, MAX_WINDOW);
  requirePairs(config, 'window_size', Math.max(patchesIn(gridOf(patching)), window ** 2) * window ** 2);
  return {
    ...patching,
    features,
    depths,
    heads,
    window,
    ratio,
    activation: readActivation(config, 'gelu'),
    epsilon: config.positive('layer_norm_eps', 1e-5),
    qkvBias: config.flag('qkv_bias', true),
    isPositioned: config.flag('use_absolute_embeddings', false),
    classes: count,
    classNames: names,
  };
}

/** Stages of a model whose patches they make ever fewer. Throws UserError where windows are larger than a stage. */
export function stagesOf(config: SwinConfig, family: string): readonly Stage[] {
  let grid = gridOf(config);
  return config.depths.map((_, index) => {
    const own = grid;
    grid = { rows: Math.ceil(own.rows / 2), columns: Math.ceil(own.columns / 2) };
    const features = config.features * 2 ** index;
    const side = config.window;
    const isOne = Math.min(own.rows, own.columns) <= side;
    return {
      index,
      prefix: `${family}.encoder.layers.${index}.`,
      grid: own,
      features,
      heads: config.heads[index]!,
      hidden: Math.trunc(features * config.ratio),
      windows: (block) => ({ grid: own, side, shift: isOne || block % 2 === 0 ? 0 : side >> 1 }),
    };
  });
}

/** What the two versions have of their own. */
export interface SwinParts {
  block(this: void, config: SwinConfig, stage: Stage, index: number): Part;
  merging(this: void, stage: Stage): Part;
}

/** Stem, stages and head as one model. */
export function swinModel(
  config: SwinConfig,
  stages: readonly Stage[],
  family: string,
  { block, merging }: SwinParts,
): VisionModel {
  const { image, classes, classNames, depths } = config;
  return {
    family,
    task: 'image-classification',
    reads: 'pixels',
    stem: stem(config, family),
    blocks: stages.flatMap((stage) => [
      ...Array.from({ length: depths[stage.index]! }, (_, index) => block(config, stage, index)),
      ...(stage.index + 1 < stages.length ? [merging(stage)] : []),
    ]),
    head: head(config, stages.at(-1)!, family),
    image,
    classes,
    classNames,
  };
}

/** Embeddings of patches, normed, and their positions where the model has some. */
function stem(config: SwinConfig, family: string): Part {
  const { image, features, isPositioned } = config;
  const patches = patchesIn(gridOf(config));
  return {
    prefix: `${family}.embeddings.`,
    kind: 'stem',
    inputShape: (batch) => [batch, image.channels, image.height, image.width],
    outputShape: (batch) => [batch * patches, features],
    forward: (b, x, batch) => {
      const embedded = b.linear('patch_embeddings.projection', cutPatches(x, config, batch), features, {
        storedShape: patchWeight(config, features),
      });
      const normal = b.layerNorm('norm', embedded, PATCH_EPSILON);
      if (!isPositioned) return normal;
      const positions = b.parameter('position_embeddings', [1, patches, features]);
      const placed = op.add(op.reshape(normal, [batch, patches, features]), positions);
      return op.reshape(placed, [batch * patches, features]);
    },
  };
}

/** The mean of all patches, normed, is what is classified. */
function head({ classes, epsilon }: SwinConfig, { grid, features }: Stage, family: string): Part {
  const patches = patchesIn(grid);
  return {
    prefix: '',
    kind: 'head',
    inputShape: (batch) => [batch * patches, features],
    outputShape: (batch) => [batch, classes],
    forward: (b, x, batch) => {
      const normal = op.reshape(b.layerNorm(`${family}.layernorm`, x, epsilon), [batch, patches, features]);
      return b.linear('classifier', meanOfTokens(normal), classes);
    },
  };
}

/** How newer code calls what files have by older names. */
const RENAMED = [
  [
    'attention.self.relative_position_bias_table',
    'attention.relative_position_bias.relative_position_bias_table',
  ],
  ['attention.self.query.', 'attention.q_proj.'],
  ['attention.self.key.', 'attention.k_proj.'],
  ['attention.self.value.', 'attention.v_proj.'],
  ['attention.output.dense.', 'attention.o_proj.'],
  ['intermediate.dense.', 'mlp.fc1.'],
  ['output.dense.', 'mlp.fc2.'],
] as const;

/** Other names of a tensor: without the prefix, as newer code has it, and both. */
export const otherSwinNames =
  (prefix: string) =>
  (name: string): readonly string[] => {
    if (!name.startsWith(`${prefix}.`)) return [];
    const [, block, inner] = /^(.*\.blocks\.\d+\.)(.*)$/.exec(name) ?? [];
    const renamed = RENAMED.find(([older]) => inner?.startsWith(older));
    const newer = renamed ? [block! + renamed[1] + inner!.slice(renamed[0].length)] : [];
    return [...newer, ...[name, ...newer].map((each) => each.slice(prefix.length + 1))];
  };
