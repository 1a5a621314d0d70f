/** Random configurations of ViT, DeiT, BEiT and Swin. */
import type { CheckpointCase } from '../checkpoints.peers.js';
import type { Draw } from '../suite.js';
import { ACTIVATIONS } from './activations.js';

export function drawVision(draw: Draw): Omit<CheckpointCase, 'seed'> {
  const { pick, whole, chance } = draw;
  const kinds = [drawVit, drawVit, drawBeit, drawSwin];
  return {
    config: { ...pick(kinds)(draw), ...drawClasses(draw) },
    stored: {
      dtype: pick(['F32', 'F32', 'F16', 'BF16', 'F64']),
      shards: chance(0.7) ? 1 : whole(2, 3),
      indexed: chance(0.2),
      names: pick(['usual', 'usual', 'usual', 'bare', 'newer'] as const),
      ...(chance(0.1) && { spare: pick(['float8_e5m2', 'uint8', 'int32']) }),
    },
    batch: whole(1, 3),
  };
}

/** What the encoders of one stage have in common. */
function drawEncoder({ pick, whole, chance }: Draw) {
  const heads = pick([1, 2, 3, 4]);
  const [height, width] = [whole(1, 5), whole(1, 5)] as const;
  const isSquare = chance(0.7);
  return {
    hidden_size: heads * whole(1, 8),
    num_attention_heads: heads,
    num_hidden_layers: whole(1, 3),
    intermediate_size: whole(2, 40),
    ...(chance() && { hidden_act: chance(0.3) ? pick(ACTIVATIONS) : 'gelu' }),
    image_size: isSquare ? height * whole(1, 4) : [height * whole(1, 4), width * whole(1, 4)],
    patch_size: isSquare && chance() ? height : [height, isSquare ? height : width],
    num_channels: whole(1, 4),
    layer_norm_eps: pick([1e-12, 1e-6, 1e-3]),
  };
}

function drawVit(draw: Draw) {
  const { pick, chance } = draw;
  const family = pick(['vit', 'deit'] as const);
  return {
    model_type: family,
    ...drawArchitecture(draw, family),
    ...drawEncoder(draw),
    ...(chance() && { qkv_bias: chance() }),
  };
}

function drawBeit(draw: Draw) {
  const { pick, whole, chance } = draw;
  const patch = whole(1, 5);
  const side = () => patch * whole(1, 4);
  return {
    model_type: 'beit',
    architectures: ['BeitForImageClassification'],
    ...drawEncoder(draw),
    // One side for both axes: with others the reference stumbles over its own positions.
    patch_size: patch,
    image_size: side(),
    ...pick([
      {},
      { use_relative_position_bias: true },
      { use_shared_relative_position_bias: true, use_relative_position_bias: false },
    ]),
    ...(chance() && { use_absolute_position_embeddings: chance() }),
    ...(chance() && { use_mean_pooling: chance() }),
    ...(chance() && { layer_scale_init_value: pick([0, 0.1]) }),
    ...(chance(0.3) && { use_mask_token: true }),
  };
}

/** Windows are now and then as large as a stage, larger than one, or no divisor of its sides. */
function drawSwin({ pick, whole, chance }: Draw) {
  const stages = whole(1, 3);
  const heads = whole(1, 3);
  const patch = whole(1, 3);
  const side = () => patch * whole(3, 12) - (chance(0.2) ? whole(0, patch - 1) : 0);
  return {
    model_type: 'swin',
    architectures: ['SwinForImageClassification'],
    image_size: chance(0.7) ? side() : [side(), side()],
    patch_size: patch,
    num_channels: whole(1, 3),
    embed_dim: heads * whole(2, 5),
    depths: Array.from({ length: stages }, () => whole(1, 3)),
    num_heads: Array.from({ length: stages }, (_, i) => heads * (chance() ? 1 : 2 ** i)),
    window_size: whole(1, 4),
    ...(chance() && { mlp_ratio: pick([1, 2, 2.5, 4]) }),
    ...(chance() && { qkv_bias: chance() }),
    ...(chance() && { use_absolute_embeddings: chance() }),
    ...(chance() && { hidden_act: chance(0.3) ? pick(ACTIVATIONS) : 'gelu' }),
    ...(chance() && { layer_norm_eps: pick([1e-12, 1e-6, 1e-3]) }),
  };
}

function drawArchitecture({ pick, chance }: Draw, family: 'vit' | 'deit') {
  if (family === 'vit') return chance(0.9) ? { architectures: ['ViTForImageClassification'] } : {};
  const named = pick([undefined, 'DeiTForImageClassification', 'DeiTForImageClassificationWithTeacher']);
  return named === undefined ? {} : { architectures: [named] };
}

function drawClasses(draw: Draw) {
  const { whole, chance, pick } = draw;
  const first = chance(0.1) ? 1 : 0;
  const names = Array.from({ length: whole(1, 6) }, (_, i) => [
    String(first + i),
    pick([`class ${i}`, 'twice', i]),
  ]);
  const id2label = Object.fromEntries(draw.shuffle(names)) as Record<string, unknown>;
  return {
    ...(chance(0.8) && { id2label }),
    ...(chance(0.3) && { num_labels: whole(1, 8) }),
  };
}
