/** Vision Transformer (Dosovitskiy et al. 2021), Hugging Face layout `vit`; DeiT is built from the same pieces. */
import type { Value } from '../../graph/ir.js';
import * as op from '../../graph/ops.js';
import { readActivation, type Activation } from '../activations.js';
import { attention } from '../attention.js';
import type { ModelConfig } from '../config.js';
import type { Family } from '../family.js';
import type { Builder, Part, VisionModel } from '../model.js';
import { cutPatches, gridOf, patchesIn, patchWeight, type Patching } from '../vision/patches.js';
import { MAX_DEPTH, MAX_FEATURES, readTiles } from '../vision/sizes.js';

export interface VitConfig extends Patching {
  readonly features: number;
  readonly depth: number;
  readonly heads: number;
  readonly hidden: number;
  readonly activation: Activation;
  readonly epsilon: number;
  readonly qkvBias: boolean;
  readonly classes: number;
  readonly classNames: ReadonlyMap<number, string>;
}

/** Reads and checks the keys that `vit` and `deit` have in common. */
export function readVitConfig(config: ModelConfig): VitConfig {
  const patching = readTiles(config, { image: 224, patch: 16 });
  const features = config.size('hidden_size', 768, MAX_FEATURES);
  const heads = config.size('num_attention_heads', 12);
  if (features % heads !== 0)
    config.fail('num_attention_heads', `must divide hidden_size (${features}), found ${heads}`);
  if (config.has('head_dim') && config.size('head_dim') !== features / heads)
    config.fail('head_dim', `must be hidden_size over num_attention_heads (${features / heads})`);
  const { count, names } = config.classes();
  return {
    ...patching,
    features,
    depth: config.size('num_hidden_layers', 12, MAX_DEPTH),
    heads,
    hidden: config.size('intermediate_size', 3072, MAX_FEATURES),
    activation: readActivation(config, 'gelu'),
    epsilon: config.positive('layer_norm_eps', 1e-12),
    qkvBias: config.flag('qkv_bias', true),
    classes: count,
    classNames: names,
  };
}

/** Patch and position embeddings after the special tokens, each a parameter [1, 1, features]. */
export function vitStem(
  config: VitConfig,
  prefix: string,
  specialTokens: readonly string[],
  isPositioned = true,
): Part {
  const { image, features } = config;
  const count = patchesIn(gridOf(config));
  return {
    prefix: `${prefix}.embeddings.`,
    kind: 'stem',
    inputShape: (batch) => [batch, image.channels, image.height, image.width],
    outputShape: (batch) => [batch * (specialTokens.length + count), features],
    forward: (b, x, batch) => {
      const embedded = b.linear('patch_embeddings.projection', cutPatches(x, config, batch), features, {
        storedShape: patchWeight(config, features),
      });
      const special = specialTokens.map((name) =>
        op.expand(b.parameter(name, [1, 1, features]), [batch, 1, features]),
      );
      const tokens = op.concat([...special, op.reshape(embedded, [batch, count, features])], 1);
      const shape = [batch * (specialTokens.length + count), features];
      if (!isPositioned) return op.reshape(tokens, shape);
      const positions = b.parameter('position_embeddings', [1, specialTokens.length + count, features]);
      return op.reshape(op.add(tokens, positions), shape);
    },
  };
}

/** What sets blocks of ViT's kin apart. */
export interface BlockTraits {
  /** Whether keys have a bias where queries and values have one; default true. */
  readonly keyBias?: boolean;
  /** Factors of each feature of what attention and perceptron add to the stream, by their names: [features]. Default none. */
  readonly scales?: readonly [string, string];
  /** What is added to the scores of attention, [1, heads, tokens, tokens]. */
  readonly bias?: (b: Builder) => Value;
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
  { keyBias = true, scales, bias }: BlockTraits = {},
): Part {
  return {
    prefix: `${prefix}.encoder.layer.${index}.`,
    kind: 'block',
    inputShape: (batch) => [batch * tokens, features],
    outputShape: (batch) => [batch * tokens, features],
    forward: (b, x, batch) => {
      const scaled = (branch: 0 | 1, y: Value) =>
        scales ? op.mul(y, b.parameter(scales[branch], [features])) : y;
      const before = b.layerNorm('layernorm_before', x, epsilon);
      const [q, k, v] = ['query', 'key', 'value'].map((name) =>
        b.linear(`attention.attention.${name}`, before, features, {
          bias: qkvBias && (keyBias || name !== 'key'),
        }),
      ) as [Value, Value, Value];
      const mixed = attention(b, 'attention.attention', { q, k, v }, batch, {
        heads,
        ...(bias && { bias: bias(b) }),
      });
      const attended = op.add(x, scaled(0, b.linear('attention.output.dense', mixed, features)));
      const after = b.layerNorm('layernorm_after', attended, epsilon);
      const activated = activation(b.linear('intermediate.dense', after, hidden));
      return op.add(attended, scaled(1, b.linear('output.dense', activated, features)));
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
  const { image, depth, classes, classNames } = config;
  const tokens = specialTokens.length + patchesIn(gridOf(config));
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
  // Of BEiT.
  ['attention.attention.relative_position_bias.', 'relative_position_bias.'],
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
