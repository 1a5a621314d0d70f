/** GPT-2 (Radford et al. 2019): learned positions, and layers that are stored with rows for inputs; Hugging Face layout `gpt2`. */
import { readActivation } from '../activations.js';
import { inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { withPositions } from '../decoder/positions.js';
import { fixedRoles, fused, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import { causal, withoutPrefix } from '../decoder/usual.js';

const DEFAULTS = { features: 768, depth: 12, heads: 12, vocabulary: 50257, context: 1024 };
const KEYS = {
  features: ['n_embd', 'hidden_size'],
  depth: ['n_layer', 'num_hidden_layers'],
  heads: ['n_head', 'num_attention_heads'],
  context: ['n_positions', 'max_position_embeddings'],
};

const layer = (name: string) => ({ name, bias: true, transposed: true });
const DOWN = layer('mlp.c_proj');

export const gpt2 = decoderFamily({
  modelType: 'gpt2',
  architectures: ['GPT2LMHeadModel'],
  otherNames: withoutPrefix('transformer.'),
  // Masks.
  ignores: /\.attn\.(masked_)?bias$/,
  layersAre: 'transposed ones (Conv1D)',
  design: (config, options) => {
    if (config.flag('add_cross_attention', false))
      config.fail('add_cross_attention', 'is true: decoders that read an encoder are not supported');
    const sizes = readSizes(config, DEFAULTS, options, KEYS);
    const { features, depth, positions } = sizes;
    const heads = readHeads(config, features, DEFAULTS, KEYS);
    const norm = layerNorm(config.positive('layer_norm_epsilon', 1e-5));
    const perceptron = plainPerceptron(layer('mlp.c_fc'), DOWN, {
      hidden: config.optionalSize('n_inner', undefined, MAX_FEATURES) ?? 4 * features,
      activation: readActivation(config, 'gelu_new', 'activation_function'),
    });
    const usual = config.flag('scale_attn_weights', true) ? 1 / Math.sqrt(heads.headSize) : 1;
    const fallsWithDepth = config.flag('scale_attn_by_inverse_layer_idx', false);
    return {
      sizes,
      table: 'transformer.wte',
      embedded: withPositions('transformer.wpe', positions),
      prefix: (index) => `transformer.h.${index}.`,
      variants: Array.from({ length: depth }, (_, index) =>
        fallsWithDepth ? `scores over ${index + 1}` : '',
      ),
      block: (index) => {
        const attention: SelfAttention = {
          ...heads,
          name: 'attn',
          project: fused(heads, layer('attn.c_attn'), 1),
          output: layer('attn.c_proj'),
          mask: causal(),
          scale: fallsWithDepth ? usual / (index + 1) : usual,
        };
        return {
          forward: inTurn(
            { of: selfAttention(attention), norm, before: 'ln_1' },
            { of: perceptron, norm, before: 'ln_2' },
          ),
          roles: fixedRoles(attention, DOWN.name),
        };
      },
      head: {
        before: (b, x) => norm(b, 'transformer.ln_f', x),
        layer: 'lm_head',
        tied: readTied(config, true, options),
      },
    };
  },
});
