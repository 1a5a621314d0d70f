/** Vision Transformer (Dosovitskiy et al. 2021), Hugging Face layout `vit`; DeiT is built from the same pieces. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { readActivation, type Activation } from '../activations.js';
import { attention } from '../attention.js';
import type { ModelConfig } from '../config.js';
import type { Family } from '../family.js';
import type { Builder, Part, VisionModel } from '../model.js';

export interface VitConfig {
  readonly features: number;
  readonly depth: number;
  readonly heads: number;
  readonly hidden: number;
  readonly activation: Activation;
  readonly epsilon: number;
  readonly qkvBias: boolean;
  readonly image: VisionModel['image'];
  readonly patch: { readonly height: number; readonly width: number };
  readonly classes: number;
  readonly classNames: ReadonlyMap<number, string>;
}

/** Far above any real model's; below these, numbers of elements are exact and the list of blocks is short. */
const MAX_SIDE = 1 << 16;
const MAX_CHANNELS = 1 << 10;
const MAX_FEATURES = 1 << 20;
const MAX_DEPTH = 1 << 12;

/** Reads and checks the keys that `vit` and `deit` have in common. */
export function readVitConfig(config: ModelConfig): VitConfig {
  const [height, width] = config.pair('image_size', 224, MAX_SIDE);
  const [patchHeight, patchWidth] = config.pair('patch_size', 16, MAX_SIDE);
  if (height % patchHeight !== 0 || width % patchWidth !== 0)
    config.fail(
      'patch_size',
      `must divide image_size (${height}×${width}), found ${patchHeight}×${patchWidth}`,
    );
  const features = config.size('hidden_size', 768, MAX_FEATURES);
  const heads = config.size('num_attention_heads', 12);
  if (features % heads !== 0)
    config.fail('num_attention_heads', `must divide hidden_size (${features}), found ${heads}`);
  if (config.has('head_dim') && config.size('head_dim') !== features / heads)
    config.fail('head_dim', `must be hidden_size over num_attention_heads (${features / heads})`);
  const { count, names } = config.classes();
  return {
    features,
    depth: config.size('num_hidden_layers', 12, MAX_DEPTH),
    heads,
    hidden: config.size('intermediate_size', 3072, MAX_FEATURES),
    activation: readActivation(config, 'gelu'),
    epsilon: config.positive('layer_norm_eps', 1e-12),
    qkvBias: config.flag('qkv_bias', true),
    image: { channels: config.size('num_channels', 3, MAX_CHANNELS), height, width },
    patch: { height: patchHeight, width: patchWidth },
    classes: count,
    classNames: names,
  };
}

/** Cuts a picture into patches: [batch, C, H, W] → [batch·patches, C·h·w], the order of a convolution's weight. */
function patches(pixels: Value, { image, patch }: VitConfig, batch: number): Value {
  const rows = image.height / patch.height;
  const columns = image.width / patch.width;
  const cut = op.reshape(pixels, [batch * image.channels, rows, patch.height, columns, patch.width]);
  const gridFirst = op.transpose(cut, [0, 1, 3, 2, 4]);
  const grid = op.reshape(gridFirst, [batch, image.channels, rows * columns, patch.height * patch.width]);
  return op.reshape(op.transpose(grid, [0, 2, 1, 3]), [
    batch * rows * columns,
    image.channels * patch.height * patch.width,
  ]);
}

/** Patch and position embeddings after the special tokens, each a parameter [1, 1, features]. */
export function vitStem(config: VitConfig, prefix: string, specialTokens: readonly string[]): Part {
  const { image, patch, features } = config;
  const count = (image.height / patch.height) * (image.width / patch.width);
  return {
    prefix: `${prefix}.embeddings.`,
    kind: 'stem',
    inputShape: (batch) => [batch, image.channels, image.height, image.width],
    outputShape: (batch) => [batch * (specialTokens.length + count), features],
    forward: (b, x, batch) => {
      const embedded = b.linear('patch_embeddings.projection', patches(x, config, batch), features, {
        storedShape: [features, image.channels, patch.height, patch.width],
      });
      const special = specialTokens.map((name) =>
        op.expand(b.parameter(name, [1, 1, features]), [batch, 1, features]),
      );
      const tokens = op.concat([...special, op.reshape(embedded, [batch, count, features])], 1);
      const positions = b.parameter('position_embeddings', [1, specialTokens.length + count, features]);
      return op.reshape(op.add(tokens, positions), [batch * (specialTokens.length + count), features]);
    },
  };
}

/** Pre-norm encoder block: attention, then a two-layer perceptron, each added to the stream. */
export function vitBlock(
  {
    features,
    hidden,
    activation,
    heads,
    epsilon,
    qkvBias,
  }: Pick<VitConfig, 'features' | 'hidden' | 'activation' | 'heads' | 'epsilon' | 'qkvBias'>,
  prefix: string,
  index: number,
  tokens: number,
): Part {
  return {
    prefix: `${prefix}.encoder.layer.${index}.`,
    kind: 'block',
    inputShape: (batch) => [batch * tokens, features],
    outputShape: (batch) => [batch * tokens, features],
    forward: (b, x, batch) => {
      const before = b.layerNorm('layernorm_before', x, epsilon);
      const [q, k, v] = ['query', 'key', 'value'].map((name) =>
        b.linear(`attention.attention.${name}`, before, features, { bias: qkvBias }),
      ) as [Value, Value, Value];
      const mixed = attention(b, 'attention.attention', { q, k, v }, batch, { heads });
      const attended = op.add(x, b.linear('attention.output.dense', mixed, features));
      const after = b.layerNorm('layernorm_after', attended, epsilon);
      const activated = activation(b.linear('intermediate.dense', after, hidden));
      return op.add(attended, b.linear('output.dense', activated, features));
    },
  };
}

/** The final norm, applied to the special tokens only: [batch·tokens, features] → one [batch, features] per token. */
export function finalTokens(
  b: Builder,
  name: string,
  x: Value,
  config: VitConfig,
  batch: number,
  count: number,
): readonly Value[] {
  const { features, epsilon } = config;
  const special = op.slice(op.reshape(x, [batch, x.shape[0]! / batch, features]), 1, 0, count);
  const normal = b.layerNorm(name, op.reshape(special, [batch * count, features]), epsilon);
  const parts = op.split(op.reshape(normal, [batch, count, features]), Array<number>(count).fill(1), 1);
  return parts.map((token) => op.reshape(token, [batch, features]));
}

/** Stem, blocks and head as one model. */
export function vitModel(
  config: VitConfig,
  family: string,
  specialTokens: readonly string[],
  head: (tokens: number) => Part,
): VisionModel {
  const { image, patch, depth, classes, classNames } = config;
  const tokens = specialTokens.length + (image.height / patch.height) * (image.width / patch.width);
  return {
    family,
    task: 'image-classification',
    reads: 'pixels',
    stem: vitStem(config, family, specialTokens),
    blocks: Array.from({ length: depth }, (_, index) => vitBlock(config, family, index, tokens)),
    head: head(tokens),
    image,
    classes,
    classNames,
  };
}

/** How newer code calls the layers of a block, whose checkpoints have the older names unless they are saved otherwise. */
const RENAMED = [
  ['attention.attention.query.', 'attention.q_proj.'],
  ['attention.attention.key.', 'attention.k_proj.'],
  ['attention.attention.value.', 'attention.v_proj.'],
  ['attention.output.dense.', 'attention.o_proj.'],
  ['intermediate.dense.', 'mlp.fc1.'],
  ['output.dense.', 'mlp.fc2.'],
] as const;

/** Other names of a tensor: without the prefix, as newer code has it, and both. */
export const otherVitNames =
  (prefix: string) =>
  (name: string): readonly string[] => {
    if (!name.startsWith(`${prefix}.`)) return [];
    const block = /^(.*\.)encoder\.layer\.(\d+\.)(.*)$/.exec(name);
    const renamed = RENAMED.find(([older]) => block?.[3]!.startsWith(older));
    const inner = renamed ? renamed[1] + block![3]!.slice(renamed[0].length) : block?.[3];
    const newer = block ? [`${block[1]!}layers.${block[2]!}${inner!}`] : [];
    const bare = [name, ...newer].map((each) => each.slice(prefix.length + 1));
    return [...newer, ...bare];
  };

/** What other tasks read: features of the whole picture, and the token of a masked patch. */
export const IGNORED = /(^|\.)(pooler\.dense\.(weight|bias)|embeddings\.mask_token)$/;

export const vit: Family = {
  modelType: 'vit',
  architectures: ['ViTForImageClassification'],
  otherNames: otherVitNames('vit'),
  ignores: IGNORED,
  build: (modelConfig) => {
    const config = readVitConfig(modelConfig);
    return vitModel(config, 'vit', ['cls_token'], (tokens) => ({
      prefix: '',
      kind: 'head',
      inputShape: (batch) => [batch * tokens, config.features],
      outputShape: (batch) => [batch, config.classes],
      forward: (b, x, batch) =>
        b.linear('classifier', finalTokens(b, 'vit.layernorm', x, config, batch, 1)[0]!, config.classes),
    }));
  },
};
