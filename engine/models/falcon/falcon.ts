/** Falcon (Almazrouei et al. 2023) in its three generations: many queries to a key, parallel branches, ALiBi; layout `falcon`. */
import { readActivation } from '../activations.js';
import type { ModelConfig } from '../config.js';
import { byLength } from '../constants.js';
import { alibi } from '../decoder/alibi.js';
import { inParallel, inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied, type Sublayer } from '../decoder/decoder.js';
import { layerNorm, type Norm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { fixedRoles, fused, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes, type HeadSizes } from '../decoder/sizes.js';
import { causal, turning, withoutPrefix } from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 4544, depth: 32, heads: 71, vocabulary: 65024, context: 2048 };
const KEYS = {
  features: ['hidden_size', 'n_embed'],
  depth: ['num_hidden_layers', 'n_layer'],
  heads: ['num_attention_heads', 'n_head'],
  context: ['max_position_embeddings'],
};

/** Heads, and how many groups of queries, keys and values the rows of the one layer for them are. */
function readFalconHeads(config: ModelConfig, features: number): { heads: HeadSizes; groups: number } {
  const all = readHeads(config, features, DEFAULTS, KEYS);
  if (config.flag('new_decoder_architecture', false)) {
    const keyHeads = config.optionalSize('num_kv_heads') ?? all.heads;
    if (all.heads % keyHeads !== 0)
      config.fail('num_kv_heads', `must divide num_attention_heads (${all.heads}), found ${keyHeads}`);
    return { heads: { ...all, keyHeads }, groups: keyHeads };
  }
  return config.flag('multi_query', true)
    ? { heads: { ...all, keyHeads: 1 }, groups: 1 }
    : { heads: { ...all, keyHeads: all.heads }, groups: all.heads };
}

/** The branches in the order of the model's generation. */
function orderOf(config: ModelConfig, norm: Norm): (attention: Sublayer, perceptron: Sublayer) => Sublayer {
  const isNew = config.flag('new_decoder_architecture', false);
  const isParallel = config.flag('parallel_attn', true);
  const norms = config.optionalSize('num_ln_in_parallel_attn') ?? (isNew ? 2 : 1);
  if (isNew && !isParallel)
    config.fail('parallel_attn', 'is false and new_decoder_architecture true, which is not supported');
  const [order, before, between] = !isParallel
    ? ([inTurn, 'input_layernorm', 'post_attention_layernorm'] as const)
    : isNew && norms === 2
      ? ([inParallel, 'ln_attn', 'ln_mlp'] as const)
      : ([inParallel, 'input_layernorm', 'input_layernorm'] as const);
  return (attention, perceptron) =>
    order({ of: attention, norm, before }, { of: perceptron, norm, before: between });
}

export const falcon = decoderFamily({
  modelType: 'falcon',
  architectures: ['FalconForCausalLM'],
  otherNames: withoutPrefix('transformer.'),
  ignores: /rotary_emb\.inv_freq$/,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options, KEYS);
    const { features, positions } = sizes;
    const { heads, groups } = readFalconHeads(config, features);
    const bias = config.flag('bias', false);
    // The reference rounds these biases and divides them by √size as it does scores; its eager attention adds them twice.
    const times = config.has('attn_implementation') && config.text('attn_implementation') === 'eager' ? 2 : 1;
    const biases = { factor: times / Math.sqrt(heads.headSize), isRounded: true };
    const attention: SelfAttention = {
      ...heads,
      name: 'self_attention',
      project: fused(heads, { name: 'self_attention.query_key_value', bias }, groups),
      output: { name: 'self_attention.dense', bias },
      mask: causal(),
      ...(config.flag('alibi', false)
        ? { bias: byLength((length) => alibi(heads.heads, length, biases)) }
        : { turn: turning(readRope(config, heads.headSize, positions)) }),
    };
    const norm = layerNorm(config.positive('layer_norm_epsilon', 1e-5));
    const down = { name: 'mlp.dense_4h_to_h', bias };
    const perceptron = plainPerceptron({ name: 'mlp.dense_h_to_4h', bias }, down, {
      hidden: config.optionalSize('ffn_hidden_size', undefined, MAX_FEATURES) ?? 4 * features,
      activation: readActivation(config, 'gelu', 'activation'),
    });
    return {
      sizes,
      table: 'transformer.word_embeddings',
      prefix: (index) => `transformer.h.${index}.`,
      block: () => ({
        forward: orderOf(config, norm)(selfAttention(attention), perceptron),
        roles: fixedRoles(attention, down.name),
      }),
      head: {
        before: (b, x) => norm(b, 'transformer.ln_f', x),
        layer: 'lm_head',
        tied: readTied(config, true, options),
      },
    };
  },
});
