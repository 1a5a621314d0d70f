/** OPT (Zhang et al. 2022): learned positions, ReLU, norms before or after each sublayer; Hugging Face layout `opt`. */
import { readActivation } from '../activations.js';
import { inTurn, normedInTurn } from '../decoder/blocks.js';
import { decoderFamily, readTied } from '../decoder/decoder.js';
import { layerNorm } from '../decoder/norms.js';
import { plainPerceptron } from '../decoder/perceptrons.js';
import { withPositions } from '../decoder/positions.js';
import { fixedRoles, selfAttention, type SelfAttention } from '../decoder/self-attention.js';
import { MAX_FEATURES, readHeads, readSizes } from '../decoder/sizes.js';
import { causal, usualAttention, withoutPrefix } from '../decoder/usual.js';

const DEFAULTS = { features: 768, depth: 12, heads: 12, vocabulary: 50272, context: 2048 };
const EPSILON = 1e-5;

/** The rows of the table of positions that no position has. */
const FIRST_POSITION = 2;

export const opt = decoderFamily({
  modelType: 'opt',
  architectures: ['OPTForCausalLM'],
  otherNames: withoutPrefix('model.'),
  design: (config, options) => {
    const sizes = readSizes(config, DEFAULTS, options);
    const { features, positions } = sizes;
    const heads = readHeads(config, features, DEFAULTS);
    const width = config.optionalSize('word_embed_proj_dim', undefined, MAX_FEATURES) ?? features;
    const bias = config.flag('enable_bias', true);
    const norm = layerNorm(EPSILON, { affine: config.flag('layer_norm_elementwise_affine', true) });
    const attention: SelfAttention = {
      ...usualAttention(heads, { bias: { qkv: bias }, mask: causal() }),
      output: { name: 'self_attn.out_proj', bias },
    };
    const perceptron = plainPerceptron(
      { name: 'fc1', bias },
      { name: 'fc2', bias },
      {
        hidden: config.size('ffn_dim', 3072, MAX_FEATURES),
        activation: readActivation(config, 'relu', 'activation_function'),
      },
    );
    const isPreNorm = config.flag('do_layer_norm_before', true);
    const hasFinalNorm = isPreNorm && !config.flag('_remove_final_layer_norm', false);
    const placed = withPositions('model.decoder.embed_positions', positions, FIRST_POSITION);
    const projected = { bias: false };
    const mixing = { of: selfAttention(attention), norm };
    const perceiving = { of: perceptron, norm };
    return {
      sizes,
      width,
      table: 'model.decoder.embed_tokens',
      embedded: (b, x, batch) =>
        placed(
          b,
          width === features ? x : b.linear('model.decoder.project_in', x, features, projected),
          batch,
        ),
      prefix: (index) => `model.decoder.layers.${index}.`,
      block: () => ({
        forward: isPreNorm
          ? inTurn(
              { ...mixing, before: 'self_attn_layer_norm' },
              { ...perceiving, before: 'final_layer_norm' },
            )
          : normedInTurn(
              { ...mixing, name: 'self_attn_layer_norm' },
              { ...perceiving, name: 'final_layer_norm' },
            ),
        roles: fixedRoles(attention, 'fc2', 'self_attn.v_proj'),
      }),
      head: {
        before: (b, x) => {
          const normal = hasFinalNorm ? norm(b, 'model.decoder.final_layer_norm', x) : x;
          return width === features
            ? normal
            : b.linear('model.decoder.project_out', normal, width, projected);
        },
        layer: 'lm_head',
        tied: readTied(config, true, options),
      },
    };
  },
});
