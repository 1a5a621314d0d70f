/** Random configurations of ViT and DeiT. */
import type { CheckpointCase } from '../checkpoints.peers.js';
import type { Draw } from '../suite.js';
import { ACTIVATIONS } from './activations.js';

export function drawVision(draw: Draw): Omit<CheckpointCase, 'seed'> {
  const { pick, whole, chance } = draw;
  const family = pick(['vit', 'deit'] as const);
  const heads = pick([1, 2, 3, 4]);
  const [height, width] = [whole(1, 5), whole(1, 5)] as const;
  const isSquare = chance(0.7);
  const config = {
    model_type: family,
    ...drawArchitecture(draw, family),
    hidden_size: heads * whole(1, 8),
    num_attention_heads: heads,
    num_hidden_layers: whole(1, 3),
    intermediate_size: whole(2, 40),
    ...(chance() && { hidden_act: chance(0.3) ? pick(ACTIVATIONS) : 'gelu' }),
    image_size: isSquare ? height * whole(1, 4) : [height * whole(1, 4), width * whole(1, 4)],
    patch_size: isSquare && chance() ? height : [height, isSquare ? height : width],
    num_channels: whole(1, 4),
    ...(chance() && { qkv_bias: chance() }),
    layer_norm_eps: pick([1e-12, 1e-6, 1e-3]),
    ...drawClasses(draw),
  };
  return {
    config,
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
