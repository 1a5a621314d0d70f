/** BLOOM (BigScience 2022): linear biases of scores for positions, normalised embeddings; Hugging Face layout `bloom`. */
import { tanhGelu } from '../activations.js';
import { byLength } from '../constants.js';
import { alibi } from '../decoder/alibi.js';
import { inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { fixedRoles, fused, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { readHeads, readSizes } from '../decoder/sizes.js';
import { causal, withoutPrefix } from '../decoder/usual.js';

/** It has no longest text; it was trained on so many tokens. */
const DEFAULTS = { features: 64, depth: 2, heads: 8, vocabulary: 250880, context: 2048 };
const KEYS = {
  features: ['hidden_size', 'n_embed'],
  depth: ['n_layer', 'num_hidden_layers'],
  heads: ['n_head', 'num_attention_heads'],
  context: ['seq_length'],
};

const UP = { name: 'mlp.dense_h_to_4h', bias: true };
const DOWN = { name: 'mlp.dense_4h_to_h', bias: true };

export const bloom = decoderFamily({
  modelType: 'bloom',
  architectures: ['BloomForCausalLM'],
  otherNames: withoutPrefix('transformer.'),
  design: (config, options) => {
    if (config.flag('apply_residual_connection_post_layernorm', false))
      config.fail('apply_residual_connection_post_layernorm', 'is true, which is not supported');
    const sizes = readSizes(config, DEFAULTS, options, KEYS);
    const { features } = sizes;
    const heads = readHeads(config, features, DEFAULTS, KEYS);
    const norm = layerNorm(config.positive('layer_norm_epsilon', 1e-5));
    const attention: SelfAttention = {
      ...heads,
      name: 'self_attention',
      project: fused(heads, { name: 'self_attention.query_key_value', bias: true }, heads.heads),
      output: { name: 'self_attention.dense', bias: true },
      mask: causal(),
      bias: byLength((length) => alibi(heads.heads, length)),
    };
    const perceptron = plainPerceptron(UP, DOWN, { hidden: 4 * features, activation: tanhGelu });
    return {
      sizes,
      table: 'transformer.word_embeddings',
      embedded: (b, x) => norm(b, 'transformer.word_embeddings_layernorm', x),
      prefix: (index) => `transformer.h.${index}.`,
      block: () => ({
        forward: inTurn(
          { of: selfAttention(attention), norm, before: 'input_layernorm' },
          { of: perceptron, norm, before: 'post_attention_layernorm' },
        ),
        roles: fixedRoles(attention, DOWN.name),
      }),
      head: {
        before: (b, x) => norm(b, 'transformer.ln_f', x),
        layer: 'lm_head',
        tied: readTied(config, true, options),
      },
    };
  },
});
