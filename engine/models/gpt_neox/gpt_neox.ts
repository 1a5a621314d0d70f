/** GPT-NeoX and Pythia (Black et al. 2022): one layer for queries, keys and values, head by head; layout `gpt_neox`. */
import { readActivation } from '../activations.js';
import { inParallel, inTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { fixedRoles, fused, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import { causal, turning, withoutPrefix } from '../decoder/usual.js';
import { readRope } from '../rope.js';

const DEFAULTS = { features: 6144, depth: 44, heads: 64, vocabulary: 50432, context: 2048 };

const UP = { name: 'mlp.dense_h_to_4h', bias: true };
const DOWN = { name: 'mlp.dense_4h_to_h', bias: true };
const HEAD = 'embed_out';

export const gptNeox = decoderFamily({
  modelType: 'gpt_neox',
  architectures: ['GPTNeoXForCausalLM'],
  otherNames: (name) => (name === `${HEAD}.weight` ? ['lm_head.weight'] : withoutPrefix('gpt_neox.')(name)),
  // Masks, and frequencies, which follow from the configuration.
  ignores: /attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const heads = readHeads(config, sizes.features, DEFAULTS);
    const bias = config.flag('attention_bias', true);
    const rope = readRope(config, heads.headSize, sizes.positions, {
      share: 0.25,
      shareKeys: ['rotary_pct'],
      thetaKeys: ['rotary_emb_base'],
    });
    const attention: SelfAttention = {
      ...heads,
      name: 'attention',
      project: fused(heads, { name: 'attention.query_key_value', bias }, heads.heads),
      output: { name: 'attention.dense', bias },
      turn: turning(rope),
      mask: causal(),
    };
    const norm = layerNorm(config.positive('layer_norm_eps', 1e-5));
    const perceptron = plainPerceptron(UP, DOWN, {
      hidden: config.size('intermediate_size', 24576, MAX_FEATURES),
      activation: readActivation(config, 'gelu'),
    });
    const order = config.flag('use_parallel_residual', true) ? inParallel : inTurn;
    return {
      sizes,
      table: 'gpt_neox.embed_in',
      prefix: (index) => `gpt_neox.layers.${index}.`,
      block: () => ({
        forward: order(
          { of: selfAttention(attention), norm, before: 'input_layernorm' },
          { of: perceptron, norm, before: 'post_attention_layernorm' },
        ),
        roles: fixedRoles(attention, DOWN.name),
      }),
      head: {
        before: (b, x) => norm(b, 'gpt_neox.final_layer_norm', x),
        layer: HEAD,
        tied: readTied(config, false, options),
      },
    };
  },
});
